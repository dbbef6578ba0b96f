"""No output replaces anything but an earlier output of the same step: one sentence, status 2."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from omegaconf import DictConfig, OmegaConf

from radio import cli
from radio.calibrate.statistics import LayerStatistics, save_statistics
from radio.cli import main
from radio.models.spec import RandomSource
from radio.runtime import files
from radio.runtime.errors import RadioError
from radio.runtime.files import atomic
from radio.runtime.manifest import read_manifest, recorded
from radio.runtime.outputs import check_directory, output_path
from tests.manifests import manifest_of


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli.signal, "signal", lambda *_: None)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def statistics(tmp_path: Path) -> Path:
    entry = LayerStatistics(
        cluster=torch.zeros(4, dtype=torch.int64),
        grad_var=torch.rand(1, 6) + 0.1,
        weight_var=torch.rand(1, 6) + 0.1,
        input_mean=torch.zeros(6),
    )
    path = tmp_path / "in" / "S.safetensors"
    save_statistics(path, {"layer": entry})
    manifest_of(path, "calibrate")
    return path


def contents(folder: Path) -> dict[str, bytes | None]:
    """Every name below `folder`, hidden ones too, with the bytes of files and targets of links."""
    found: dict[str, bytes | None] = {}
    for path in folder.rglob("*"):
        name = str(path.relative_to(folder))
        if path.is_symlink():
            found[name] = os.readlink(path).encode()
        else:
            found[name] = path.read_bytes() if path.is_file() else None
    return found


def configuration(out: object, statistics: Path | None = None) -> DictConfig:
    artifacts = {"statistics": None if statistics is None else str(statistics)}
    return OmegaConf.create({"out": out, "artifacts": artifacts, "wandb": {"mode": "disabled"}})


def begin(step: str, cfg: DictConfig, companions: Sequence[str] = ()) -> None:
    """Begin a step that must be refused before its work."""
    with recorded(step, cfg, output_path(cfg.out), companions):
        pytest.fail("the work has begun")


def allocate(statistics: Path, out: str) -> int:
    return main(["allocate", f"artifacts.statistics={statistics}", "rate_bits=3", f"out={out}"])


def complaint(capsys: pytest.CaptureFixture[str]) -> str:
    shown = capsys.readouterr().err
    assert "Traceback" not in shown
    lines = [line for line in shown.splitlines() if line.startswith("radio:")]
    assert len(lines) == 1
    return lines[0]


def thesis(tmp_path: Path) -> None:
    """What a user may have: files and folders of all kinds, links, and results of another step."""
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "thesis").write_text("years")
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("mine")
    (tmp_path / "notes.json").write_text('{"mine": 1}')
    (tmp_path / "link").symlink_to("file")
    (tmp_path / "to-folder").symlink_to("d")
    (tmp_path / "broken").symlink_to("nowhere")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "other.csv").write_text("block,nll\n")
    manifest_of(tmp_path / "other.csv", "evaluate")
    (tmp_path / "half.safetensors").write_text("no manifest")
    (tmp_path / "odd.json").write_text("[")


@pytest.mark.parametrize(
    "out, words",
    [
        ("d", "is a directory"),
        ("empty", "is a directory"),
        ("file", "did not write"),
        ("link", "is a symbolic link"),
        ("to-folder", "is a symbolic link"),
        ("broken", "is a symbolic link"),
        ("pipe", "is a named pipe"),
        ("/dev/null", "is a device"),
        ("", "is not a path"),
        (None, "is not a path"),
        (3, "is not a path"),
        (".", "names a directory"),
        ("..", "names a directory"),
        ("/", "names a directory"),
        ("d/..", "names a directory"),
        ("d/", "names a directory"),
        ("new/", "names a directory"),
        ("file/x.safetensors", "cannot be written"),
        ("a.json", "the suffix of its manifest"),
        ("x.partial", "the suffix of the state of a killed run"),
        ("x.parts", "the suffix of the state of a killed run"),
        ("notes.safetensors", "notes.json, which holds something that step allocate did not"),
        ("notes.csv", "notes.json, which holds something that step allocate did not"),
        ("odd.safetensors", "odd.json, which holds something that step allocate did not"),
        ("other.csv", "step allocate did not write"),
        ("other.safetensors", "other.json, which holds something that step allocate did not"),
        ("half.safetensors", "step allocate did not write"),
        ("in/S.safetensors", "an input"),
        ("d/../in/S.safetensors", "an input"),
        ("in/S.csv", "in/S.json, which holds something"),
        ("n" * 201, "201 bytes"),
        ("n" * 5000, "5000 bytes"),
        ("n/" * 3000 + "x", "cannot be written"),
        ("/proc/x.safetensors", "cannot be written"),
        ("a\udcff.safetensors", "is not valid UTF-8"),
    ],
)
def test_a_step_refuses(out, words, statistics, tmp_path):
    thesis(tmp_path)
    before = contents(tmp_path)
    cfg = configuration(out, statistics)
    with pytest.raises(RadioError, match=re.escape(words)):
        begin("allocate", cfg)
    assert contents(tmp_path) == before


@pytest.mark.parametrize("out", ["d", "''", "/", "a.json", "in/S.safetensors"])
def test_a_refusal_is_one_line_of_the_command(out, statistics, tmp_path, capsys):
    thesis(tmp_path)
    before = contents(tmp_path)
    assert allocate(statistics, out) == 2
    complaint(capsys)
    assert contents(tmp_path) == before


def test_an_earlier_output_is_replaced_with_its_manifest(statistics, tmp_path):
    for rate in (3, 4):
        given = [f"artifacts.statistics={statistics}", f"rate_bits={rate}", "out=new/A.safetensors"]
        assert main(["allocate", *given]) == 0
        assert read_manifest(tmp_path / "new/A.safetensors")["config"]["rate_bits"] == rate
    assert sorted(os.listdir("new")) == ["A.json", "A.safetensors"]


def test_a_failing_step_leaves_no_folder(statistics, tmp_path, capsys):
    statistics.write_bytes(statistics.read_bytes()[:-3])
    before = contents(tmp_path)
    assert allocate(statistics, "new/deep/A.safetensors") == 2
    assert "corrupt" in complaint(capsys)
    assert contents(tmp_path) == before


def test_second_files_of_a_step_are_checked_too(tmp_path):
    """`radio table out=README.csv` also writes README.md."""
    (tmp_path / "README.md").write_text("mine")
    before = contents(tmp_path)
    for out, words in (("README.csv", "did not write"), ("x.md", "second file")):
        with pytest.raises(RadioError, match=words):
            begin("table", configuration(out), [".md"])
    assert contents(tmp_path) == before


def test_steps_of_manifests_need_json(tmp_path, capsys):
    assert main(["prepare", "model=smoke-opt", "out=model.safetensors"]) == 2
    assert "does not end in .json" in complaint(capsys)
    (tmp_path / "package.json").write_text("{}")
    assert main(["prepare", "model=smoke-opt", "out=package.json"]) == 2
    assert "step prepare did not write" in complaint(capsys)
    assert (tmp_path / "package.json").read_text() == "{}"


def test_a_checkpoint_that_prepare_makes_replaces_only_its_own(tmp_path):
    from radio.models.random_weights import make_random_model

    (tmp_path / "checkpoint").mkdir()
    (tmp_path / "checkpoint" / "thesis").write_text("years")
    with pytest.raises(RadioError, match="did not write"):
        make_random_model(RandomSource(0, {}), "opt", tmp_path / "checkpoint")
    assert (tmp_path / "checkpoint" / "thesis").read_text() == "years"


def packed(folder: Path, step: str = "quantize") -> Path:
    """A directory that `step` seems to have written."""
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(b"codes")
    content = {"step": step, "measured": {}, "files": {"model.safetensors": 5}}
    (folder / "manifest.json").write_text(json.dumps(content))
    return folder


@pytest.mark.parametrize(
    "out, words",
    [
        ("OUT", "would replace the input"),
        ("OUT/", "would replace the input"),
        ("OUT/inside", "would replace the input"),
        (".", "names a directory"),
        ("", "is not a path"),
        ("/", "names a directory"),
        ("link", "is a symbolic link"),
        ("/dev/null", "is a device"),
        ("foreign", "holds manifest.json"),
        ("bare", "holds manifest.json"),
        ("mixed", "holds notes"),
        ("linked", "holds more"),
        ("OTHER", "which is not of a model that radio export wrote"),
    ],
)
def test_an_export_refuses(out, words, tmp_path, capsys):
    packed(tmp_path / "OUT")
    packed(tmp_path / "OTHER")
    (tmp_path / "link").symlink_to("OUT")
    for name, manifest in (("foreign", '{"files": {"a": 1}, "measured": {}}'), ("bare", "{}")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "manifest.json").write_text(manifest)
    packed(tmp_path / "mixed", "export").joinpath("notes").write_text("mine")
    packed(tmp_path / "linked", "export").joinpath("more").symlink_to("../OUT")
    before = contents(tmp_path)
    assert main(["export", "OUT", f"out={out}"]) == 2
    assert words in complaint(capsys)
    assert contents(tmp_path) == before


def test_a_directory_around_an_input_is_refused(tmp_path):
    folder = packed(tmp_path / "OUT")
    with pytest.raises(RadioError, match="would replace the input"):
        check_directory("quantize", folder, "manifest.json", [folder / "model.safetensors"])
    assert check_directory("quantize", f"{folder}/", "manifest.json") == folder


def test_a_command_does_not_replace_its_own_workflow(tmp_path, capsys):
    """Told before the jobs run, not when they have filled `results`."""
    words = ["quantize", "model=smoke-opt", "method=rtn", "rate_bits=3"]
    for out in ("results", "results/smoke-opt", "."):
        assert main([*words, f"out={out}"]) == 2
        complaint(capsys)
    assert contents(tmp_path) == {}


@pytest.mark.parametrize("there, made", [("folder", "file"), ("file", "folder")])
def test_files_and_directories_never_replace_each_other(there, made, tmp_path):
    path = tmp_path / "x"
    if there == "folder":
        path.mkdir()
        (path / "thesis").touch()
    else:
        path.write_text("mine")
    with pytest.raises(RadioError, match="cannot be replaced"), atomic(path) as scratch:
        scratch.touch() if made == "file" else scratch.mkdir()
    assert (path / "thesis").exists() if there == "folder" else path.read_text() == "mine"


def test_what_appears_during_a_job_is_not_replaced(tmp_path):
    cfg = configuration("A.csv")
    with (
        pytest.raises(RadioError, match="did not write"),
        recorded("evaluate", cfg, Path("A.csv")) as (staged, _),
    ):
        staged.write_text("ours")
        (tmp_path / "A.csv").write_text("mine")
    assert contents(tmp_path) == {"A.csv": b"mine"}


KILLED = """
import os, sys
from pathlib import Path
from radio.runtime import files
def die(*_):
    os.kill(os.getpid(), 9)
if sys.argv[2] == "replacing":
    files.os.replace = die
with files.atomic(Path(sys.argv[1])) as scratch:
    scratch.mkdir()
    (scratch / "new").touch()
    if sys.argv[2] == "writing":
        die()
"""


@pytest.mark.parametrize("moment", ["writing", "replacing"])
def test_what_a_kill_left_is_cleaned_by_the_next_writer(moment, tmp_path):
    """A killed process's scratch goes, and the directory that it had moved aside comes back."""
    path = tmp_path / "OUT"
    path.mkdir()
    (path / "old").touch()
    (tmp_path / ".OUT.20240101").mkdir()  # a user's
    subprocess.run([sys.executable, "-c", KILLED, str(path), moment], check=False)
    assert len(list(tmp_path.glob(".OUT.radio-*"))) == 1
    with pytest.raises(ZeroDivisionError), atomic(path):
        assert len(list(tmp_path.glob(".OUT.radio-*"))) == 1  # its own
        _ = 1 / 0
    assert contents(tmp_path) == {"OUT": None, "OUT/old": b"", ".OUT.20240101": None}


def test_scratch_of_a_living_process_stays(tmp_path):
    with atomic(tmp_path / "x") as first:
        first.write_text("first")
        with atomic(tmp_path / "x") as second:
            second.write_text("second")
        assert first.read_text() == "first"
    assert contents(tmp_path) == {"x": b"first"}


def test_without_locks_nothing_is_cleaned(tmp_path, monkeypatch):
    """Some network file systems have none: whose a scratch folder is cannot be known there."""

    def no_locks(*_: object) -> None:
        raise OSError("no locks available")

    monkeypatch.setattr(files.fcntl, "flock", no_locks)
    with atomic(tmp_path / "x") as first, atomic(tmp_path / "x") as second:
        first.write_text("first")
        second.write_text("second")
    assert contents(tmp_path) == {"x": b"first"}
