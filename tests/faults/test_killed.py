"""kill -9 of a workflow at any moment, then the same command: it resumes to the same bytes."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from radio.runtime.errors import RadioError
from radio.runtime.workflow_lock import VARIABLE, hold_workflow_lock
from tests.tiny import tiny_llama
from tests.workflow.snake import command, environment

TARGET = "results/local/quantized/rtn/4.safetensors"
ARGUMENTS = ["--cores", "2", "--max-threads", "1", "--configfile", "config.json", "--"]


def overrides(folder: Path) -> list[str]:
    """Make a tiny checkpoint and text in `folder`; returns the overrides that name them."""
    text = "\n\n".join(f"The fox {n} jumps over {n * n} dogs in the sun." for n in range(400))
    (folder / "text.txt").write_text(text)
    return [
        f"model.path={tiny_llama(folder / 'checkpoint', num_hidden_layers=1)}",
        "model.calibration_data=local",
        "model.group_rows=16",
        f"data.path={folder / 'text.txt'}",
        "data.context_tokens=32",
        "data.blocks={calibration:8,validation:2,test:4}",
    ]


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Configuration of the workflow, as JSON."""
    return json.dumps({"overrides": overrides(tmp_path_factory.mktemp("inputs"))})


def start(folder: Path, target: str) -> "subprocess.Popen[bytes]":
    """Start the workflow as the leader of a process group of its own."""
    with (folder / "said.log").open("ab") as said:
        return subprocess.Popen(
            command(folder, *ARGUMENTS, target),
            env=environment(),
            cwd=folder,
            stdout=said,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def kill(process: "subprocess.Popen[bytes]", whole_group: bool) -> None:
    """Kill the workflow outright: with its jobs, or without them."""
    if whole_group:
        with suppress(ProcessLookupError):  # it has ended by itself
            os.killpg(process.pid, signal.SIGKILL)
    else:
        process.kill()
    process.wait()


def content(folder: Path) -> dict[str, object]:
    """All files under `results`: bytes of artifacts, measurements of manifests without times."""
    found: dict[str, object] = {}
    for path in folder.glob("results/**/*"):
        name = str(path.relative_to(folder))
        if path.suffix == ".json":
            measured = json.loads(path.read_text())["measured"]
            found[name] = {k: v for k, v in measured.items() if not k.endswith("_s")}
        elif path.is_file():
            found[name] = path.read_bytes()
    return found


def finish(folder: Path, target: str, settings: str) -> dict[str, object]:
    """Run the workflow to its end; returns what it made."""
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(settings)
    status = start(folder, target).wait(timeout=600)
    assert status == 0, (folder / "said.log").read_text()
    return content(folder)


def kill_after(seconds: float, folder: Path, target: str, settings: str, whole_group: bool) -> bool:
    """Start the workflow and kill it after some seconds; returns whether it was still running."""
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(settings)
    process = start(folder, target)
    time.sleep(seconds)
    running = process.poll() is None
    kill(process, whole_group)
    return running


HOLDER = """
import sys, time
from pathlib import Path
from radio.runtime.workflow_lock import hold_workflow_lock
held = hold_workflow_lock(Path(sys.argv[1]))
print("held", flush=True)
time.sleep(60)
"""
JOB = """
import sys, time
from radio.runtime.workflow_lock import job_of_workflow
with job_of_workflow():
    print("working", flush=True)
    time.sleep(60)
"""


@contextmanager
def begun(code: str, *arguments: str, ticket: str = "") -> "Iterator[subprocess.Popen[str]]":
    """Run Python on `code`, from the word that it says until the block ends."""
    with subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        env={**environment(), VARIABLE: ticket},
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None and process.stdout.readline()
        try:
            yield process
        finally:
            process.kill()


def test_two_living_workflows_exclude_each_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, "")
    folder = tmp_path / ".snakemake"
    with begun(HOLDER, str(folder)) as holder:
        sentence = rf"another workflow \(process {holder.pid}\) is at work in {tmp_path}: wait"
        with pytest.raises(RadioError, match=sentence):
            hold_workflow_lock(folder)
    held = hold_workflow_lock(folder)  # the other one was killed
    assert held is not None
    with held:
        assert str(os.getpid()) in (folder / "radio.lock").read_text()
        assert hold_workflow_lock(folder) is None  # a workflow that this one runs


def test_a_job_that_outlives_its_workflow_ends_when_the_next_one_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, "")
    path = tmp_path / ".snakemake/radio.lock"
    with begun(HOLDER, str(path.parent)):
        ticket = f"{path} {path.read_text()}"
    with begun(JOB, ticket=ticket) as orphan:
        time.sleep(1.5)
        assert orphan.poll() is None  # as long as no other workflow begins, it goes on
        held = hold_workflow_lock(path.parent)  # waits for it
        assert held is not None
        held.close()
        assert orphan.wait(timeout=2) == -signal.SIGTERM


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_same_command_resumes_to_the_same_bytes(tmp_path: Path, settings: str) -> None:
    """Killed twice, once with its jobs and once without; with more kills it takes minutes."""
    began = time.monotonic()
    wanted = finish(tmp_path / "whole", TARGET, settings)
    assert TARGET in wanted
    lasted = time.monotonic() - began
    draw, folder = random.Random(0), tmp_path / "killed"
    for whole_group in (True, False):
        kill_after(draw.uniform(0.3, 0.9) * lasted, folder, TARGET, settings, whole_group)
    assert finish(folder, TARGET, settings) == wanted
    assert not list(folder.glob("results/**/.*"))
