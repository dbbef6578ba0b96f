"""The whole workflow on a tiny model and text: killed, resumed, and done once."""

import json
import os
import signal
import subprocess
import time
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


@pytest.mark.slow
@pytest.mark.timeout(1800)  # two minutes on two cores of one's own
def test_killed_resumed_and_done_once(tmp_path: Path) -> None:
    estimator = [
        "calibration.estimator.sequences=8",
        "calibration.estimator.pilot_sequences=2",
    ]
    run = ["results/smoke.csv", *local(tmp_path, *estimator)]
    results = tmp_path / "results/local"

    run_and_kill(command(tmp_path, *run), tmp_path, "calibrate")
    assert (results / "tokens/local.safetensors").exists()
    assert not list((results / "statistics").glob("*.*"))
    assert not (tmp_path / "results/smoke.csv").exists()

    snakemake(tmp_path, *run)
    table = pd.read_csv(tmp_path / "results/smoke.csv").set_index("method")
    assert list(table.index) == ["fp16", "rtn", "radio"]
    assert table.kl["fp16"] == pytest.approx(0, abs=1e-4)
    assert 0 < table.kl["radio"] < table.kl["rtn"]
    assert table.bits_paper["radio"] == pytest.approx(3, abs=0.05)
    assert (table.bits_true >= table.bits_paper).all()
    assert (tmp_path / "results/smoke.md").is_file()
    assert not list(results.rglob(".*"))

    assert "Nothing to be done" in snakemake(tmp_path, *run)

    evaluated = results / "evaluation"
    cells = [
        "radio/bits=5.5",
        "radio/kl=0.002",
        "radio-plus@inputs.sequences=8/3",
        "radio-paper@batch=4,iterations=2,sequences=8,tokens=5,validate_every=1/3",
    ]
    paths = [f"results/local/evaluation/{cell}/local.csv" for cell in cells]
    snakemake(tmp_path, *paths, *run[1:])
    found = [
        json.loads((evaluated / cell / "local.json").read_text())["measured"] for cell in cells
    ]
    assert 5.3 < found[0]["bits_true"] <= 5.5
    assert found[1]["loss_validation"] <= 0.002
    assert found[1]["kl"] < 2 * 0.002  # the test text is another, and tiny
    assert all(each["bits_paper"] == pytest.approx(3, abs=0.05) for each in found[2:])
    assert found[2]["kl"] < table.kl["radio"]


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
