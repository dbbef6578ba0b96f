import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from omegaconf import DictConfig

from radio import cli
from radio.runtime.compose import steps


@pytest.fixture(autouse=True)
def _handlers(monkeypatch: pytest.MonkeyPatch) -> None:
    """`main` changes its process's signals and environment; a test's it must not."""
    monkeypatch.setattr(cli.signal, "signal", lambda *_: None)
    monkeypatch.setattr(cli.os, "environ", dict(os.environ))
    monkeypatch.setattr("torch.set_num_threads", lambda _: None)


def pretend(monkeypatch: pytest.MonkeyPatch, run: object) -> None:
    """Let `radio allocate` run something else."""
    monkeypatch.setattr("radio.steps.allocate.run", run)


GIVEN = ["allocate", "out=x", "rate_bits=3", "artifacts.statistics=y"]


def test_help_lists_every_step(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--help"]) == 0
    shown = capsys.readouterr().out
    for step in steps():
        assert f"  {step} " in shown
        assert cli._summary(step).endswith(".")


def test_no_step_is_bad_input() -> None:
    assert cli.main([]) == 2


@pytest.mark.parametrize("step", steps())
def test_help_of_a_step_shows_its_configuration(
    step: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main([step, "--help"]) == 0
    shown = capsys.readouterr().out
    assert "out: ???" in shown and "seed: 0" in shown


def test_help_takes_overrides(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["quantize", "method=rtn-g128", "--help"]) == 0
    assert "group_cols: 128" in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments, sentence",
    [
        (["quantise"], "unknown step 'quantise': did you mean quantize?"),
        (["prepare", "model=opt-125", "out=x"], "unknown model 'opt-125'"),
        (["quantize", "method=radoi", "out=x"], "did you mean radio"),
        (["allocate"], "step allocate is not given artifacts.statistics, out: add"),
        ([*GIVEN, "threads=0"], "threads=0 is not accepted: set an integer of at least 1"),
        ([*GIVEN, "threads=many"], "threads=many is not accepted"),
        ([*GIVEN, "nonsense"], "override 'nonsense' cannot be read"),
    ],
)
def test_bad_input_is_one_line_and_status_2(
    arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(arguments) == 2
    shown = capsys.readouterr().err
    assert shown.startswith("radio: error: ") and sentence in shown
    assert shown.count("\n") == 1


def test_the_step_gets_its_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[DictConfig] = []
    pretend(monkeypatch, seen.append)
    assert cli.main([*GIVEN, "threads=3", "seed=5"]) == 0
    assert (seen[0].rate_bits, seen[0].seed) == (3, 5)
    assert cli.os.environ["OMP_NUM_THREADS"] == "3"


def test_a_full_disk_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(_cfg: DictConfig) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "x")

    pretend(monkeypatch, full)
    assert cli.main(GIVEN) == 2
    assert "no space left" in capsys.readouterr().err


def test_an_interrupt_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(_cfg: DictConfig) -> None:
        raise KeyboardInterrupt

    pretend(monkeypatch, interrupted)
    assert cli.main(GIVEN) == 130


@pytest.mark.parametrize("writable", [True, False])
def test_a_bug_is_one_sentence_that_names_the_file_of_its_traceback(
    writable: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def buggy(_cfg: DictConfig) -> None:
        raise ZeroDivisionError("by nothing\nat all")

    monkeypatch.chdir(tmp_path)
    if not writable:
        (tmp_path / "logs").touch()  # so that no folder can be made there
    pretend(monkeypatch, buggy)
    assert cli.main(GIVEN) == 1
    shown = capsys.readouterr().err
    assert shown.startswith("radio: error: ZeroDivisionError: by nothing at all")
    assert shown.count("\n") == 1
    kept = Path(shown.rpartition(" in ")[2].strip())
    assert kept.is_relative_to(tmp_path / "logs/errors") == writable
    content = kept.read_text()
    assert "radio allocate out=x rate_bits=3" in content and "in buggy" in content


def test_a_closed_pipe_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def closed(_cfg: DictConfig) -> None:
        raise BrokenPipeError(errno.EPIPE, "Broken pipe")

    pretend(monkeypatch, closed)
    monkeypatch.setattr(cli.os, "dup2", lambda *_: None)
    assert cli.main(GIVEN) == 141


def test_as_a_module() -> None:
    command = [sys.executable, "-m", "radio", "nope"]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    assert answer.returncode == 2
    assert answer.stderr.startswith("radio: error: unknown step 'nope'")


def test_a_terminated_step_leaves_nothing(tmp_path: Path) -> None:
    """SIGTERM, which Snakemake and batch systems send, unwinds: scratch files go."""
    code = f"""
import signal, time
from pathlib import Path
from radio import cli
from radio.runtime.files import atomic
signal.signal(signal.SIGTERM, cli._terminate)
with atomic(Path({str(tmp_path)!r}) / "x") as scratch:
    scratch.write_text("half")
    print("ready", flush=True)
    time.sleep(60)
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(0.1)
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=30) == cli.TERMINATED
    assert not list(tmp_path.iterdir())
