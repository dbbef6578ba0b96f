"""Of processes that write the same output, one wins with all its files; a kill leaves no pair."""

import json
import multiprocessing
import os
import random
import signal
import time
from multiprocessing.synchronize import Barrier
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from radio.runtime.artifacts import content_digest
from radio.runtime.errors import RadioError
from radio.runtime.files import atomic, replace
from radio.runtime.manifest import recorded

# forked, so that a trial costs milliseconds
PROCESSES = multiprocessing.get_context("fork")
TRIALS = 20
WRITERS = 2


def publish(out: Path, number: int) -> None:
    """Write an artifact, a second file and a manifest that all hold `number`."""
    cfg = OmegaConf.create({"out": str(out), "seed": number, "wandb": {"mode": "disabled"}})
    with recorded("table", cfg, out, [".md"]) as (staged, measured):
        # sizes differ, so that a mix would show in them, too
        staged.write_text(f"{number}\n" * (number + 1))
        staged.with_suffix(".md").write_text(f"{number}")
        measured["number"] = number


def published(out: Path) -> set[int]:
    """Numbers in the three files, after comparing the manifest with the artifact."""
    manifest = json.loads(out.with_suffix(".json").read_text())
    assert manifest["identity"] == content_digest(out)
    assert manifest["size_bytes"] == out.stat().st_size
    numbers = {int(line) for line in out.read_text().splitlines()}
    return numbers | {manifest["measured"]["number"], int(out.with_suffix(".md").read_text())}


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("radio.runtime.manifest.commit", lambda: "unknown")


def race(start: Barrier, out: Path, number: int) -> None:
    start.wait()
    publish(out, number)


def raced(out: Path) -> None:
    """Let processes publish to `out` at the same time."""
    start = PROCESSES.Barrier(WRITERS)
    writers = [PROCESSES.Process(target=race, args=(start, out, n)) for n in range(WRITERS)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert [writer.exitcode for writer in writers] == [0] * WRITERS


def test_one_of_several_writers_wins_with_all_its_files(tmp_path):
    for trial in range(TRIALS):
        out = tmp_path / f"{trial % 5}.csv"  # new names, and names of earlier trials
        raced(out)
        assert len(published(out)) == 1
    assert {path.suffix for path in tmp_path.iterdir()} == {".csv", ".json", ".md"}


def replace_folder(start: Barrier, out: Path, number: int) -> None:
    start.wait()
    with atomic(out) as scratch:
        scratch.mkdir()
        for name in ("a", "b"):
            (scratch / name).write_text(f"{number}")


def test_one_of_several_writers_of_a_directory_wins_whole(tmp_path):
    out = tmp_path / "OUT"
    for _ in range(TRIALS):
        start = PROCESSES.Barrier(WRITERS)
        arguments = [(start, out, number) for number in range(WRITERS)]
        writers = [PROCESSES.Process(target=replace_folder, args=each) for each in arguments]
        for writer in writers:
            writer.start()
        for writer in writers:
            writer.join()
        assert [writer.exitcode for writer in writers] == [0] * WRITERS
        assert len({(out / name).read_text() for name in ("a", "b")}) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["OUT"]


def test_renames_of_two_writers_do_not_mix_however_long_they_take(tmp_path, monkeypatch):
    """Renames take different times, so that without a lock the last of each file may differ."""
    wait = random.SystemRandom()

    def slow(*arguments: Path) -> None:
        replace(*arguments)
        time.sleep(wait.uniform(0, 0.03))

    monkeypatch.setattr("radio.runtime.manifest.replace", slow)
    for _ in range(8):
        raced(tmp_path / "x.csv")
        assert len(published(tmp_path / "x.csv")) == 1


def forever(out: Path) -> None:
    while True:
        publish(out, random.randrange(9))


def test_a_writer_that_is_killed_leaves_a_pair_or_one_that_is_known_not_to_be(tmp_path):
    """And the next writer replaces it, and removes its scratch folder."""
    out = tmp_path / "x.csv"
    publish(out, 0)
    for trial in range(20):
        writer = PROCESSES.Process(target=forever, args=(out,))
        writer.start()
        time.sleep(0.01 + 0.002 * trial)
        assert writer.pid is not None
        os.kill(writer.pid, signal.SIGKILL)
        writer.join()
        manifest = json.loads(out.with_suffix(".json").read_text())
        if manifest["identity"] == content_digest(out):
            assert manifest["size_bytes"] == out.stat().st_size
        publish(out, trial)
        assert published(out) == {trial}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x.csv", "x.json", "x.md"]


def test_a_writer_of_another_step_does_not_win(tmp_path):
    out = tmp_path / "x.csv"
    cfg = OmegaConf.create({"out": str(out), "wandb": {"mode": "disabled"}})
    with (
        pytest.raises(RadioError, match="step evaluate did not write"),
        recorded("evaluate", cfg, out) as (staged, _),
    ):
        staged.write_text("mine")
        publish(out, 1)
    assert published(out) == {1}
