"""The whole workflow on a tiny model and text: killed, resumed, and done once."""

import json
import os
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pytest

from tests.tiny import tiny_llama
from tests.workflow.snake import command, environment, snakemake

SENTENCE = "The {} fox number {} jumps over the lazy dog, and the dog sleeps until {} in the sun."


RESOURCES = ["--cores", "2", "--max-threads", "1", "--resources", "gpu=2"]


def local(folder: Path, *overrides: str) -> list[str]:
    """Arguments that run the workflow on a tiny checkpoint and text, made in `folder`."""
    text = folder / "text.txt"
    words = ("quick", "brown", "old")
    text.write_text("\n\n".join(SENTENCE.format(words[n % 3], n, n * n) for n in range(800)))
    config = {
        "overrides": [
            f"model.path={tiny_llama(folder / 'checkpoint')}",
            "model.calibration_data=local",
            "model.group_rows=16",
            f"data.path={text}",
            "data.context_tokens=64",
            "data.blocks={calibration:8,validation:2,test:4}",
            *overrides,
        ]
    }
    (folder / "config.json").write_text(json.dumps(config))
    return [*RESOURCES, "--configfile", str(folder / "config.json")]


@dataclass(frozen=True)
class Run:
    """A workflow's folder, what was in it once its calibration was killed, and its arguments."""

    folder: Path
    after_kill: set[str]
    arguments: list[str]


@pytest.fixture(scope="module")
def resumed(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The smallest table, its calibration killed outright and the run then begun again."""
    folder = tmp_path_factory.mktemp("run")
    estimator = [
        "calibration.estimator.sequences=8",
        "calibration.estimator.pilot_sequences=2",
    ]
    arguments = local(folder, *estimator)
    run = ["results/smoke.csv", *arguments]
    run_and_kill(command(folder, *run), folder, "calibrate")
    after_kill = {str(path.relative_to(folder)) for path in folder.glob("results/**/*.*")}
    snakemake(folder, *run)
    return Run(folder, after_kill, arguments)


@pytest.mark.slow
@pytest.mark.timeout(1800)  # two minutes on two cores of one's own
def test_killed_resumed_and_done_once(resumed: Run) -> None:
    assert "results/local/tokens/local.safetensors" in resumed.after_kill
    assert not any("/statistics/random" in path for path in resumed.after_kill)
    assert "results/smoke.csv" not in resumed.after_kill

    results = resumed.folder / "results"
    table = pd.read_csv(results / "smoke.csv").set_index("method")
    assert list(table.index) == ["fp16", "rtn", "radio"]
    assert table.kl["fp16"] == pytest.approx(0, abs=1e-4)
    assert 0 < table.kl["radio"] < table.kl["rtn"]
    assert table.mean_depth["radio"] == pytest.approx(3, abs=0.05)
    assert (table.bpw >= table.mean_depth).all()
    assert (results / "smoke.md").is_file()
    assert not list(results.rglob(".*"))

    again = ["results/smoke.csv", *resumed.arguments]
    assert "Nothing to be done" in snakemake(resumed.folder, *again)


@pytest.mark.slow
@pytest.mark.timeout(600)  # a minute on two cores of one's own
def test_a_target_of_accuracy_and_a_method_that_learns(resumed: Run) -> None:
    cells = ["radio/kl=0.002", "radio-plus@inputs.sequences=8/3"]
    paths = [f"results/local/evaluation/{cell}/local" for cell in cells]
    snakemake(resumed.folder, *(f"{path}.csv" for path in paths), *resumed.arguments)
    found = [
        json.loads((resumed.folder / f"{path}.json").read_text())["measured"] for path in paths
    ]
    assert found[0]["loss_validation"] <= 0.002
    assert found[0]["kl"] < 2 * 0.002  # the test text is another, and tiny
    assert found[1]["mean_depth"] == pytest.approx(3, abs=0.05)
    table = pd.read_csv(resumed.folder / "results/smoke.csv").set_index("method")
    assert found[1]["kl"] < table.kl["radio"]


def run_and_kill(command: list[str], folder: Path, step: str) -> None:
    """Run Snakemake, kill its first job of `step` outright once it has begun to work."""
    with subprocess.Popen(
        command, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        while process.poll() is None:
            time.sleep(0.05)
            begun = any(log.stat().st_size for log in folder.glob(f"logs/{step}/**/*.log"))
            if begun and (job := process_of(f"radio {step} model.path={folder}")):
                os.kill(job, signal.SIGKILL)
                break
        assert process.wait(timeout=120) != 0


def process_of(words: str) -> int | None:
    """Id of the Python process whose command line has `words`."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if "python" in line.split(" ")[0] and words in line:
            return int(path.parent.name)
    return None
