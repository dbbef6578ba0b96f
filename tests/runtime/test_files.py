"""Files are whole or absent, whatever happens while they are written."""

import os
import shutil
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from radio.runtime import files
from radio.runtime.errors import RadioError
from radio.runtime.files import atomic, check_writable, read_json, write_json
from radio.runtime.tensors import load_tensors, save_tensors

# a disk of 64 KiB, as far as this process can tell
FULL_DISK = """
import resource, sys
from pathlib import Path
import torch
from radio.runtime.errors import RadioError
from radio.runtime.files import atomic, write_json
from radio.runtime.tensors import save_tensors

def write_folder(path):
    with atomic(path) as folder:
        folder.mkdir()
        (folder / "part").write_bytes(bytes(2**17))

writers = [
    lambda path: write_json(path, {"text": "x" * 2**17}),
    lambda path: save_tensors(path, {"weight": torch.zeros(2**15)}, {}),
    write_folder,
]
resource.setrlimit(resource.RLIMIT_FSIZE, (2**16, 2**16))
for write in writers:
    try:
        write(Path(sys.argv[1]))
    except RadioError as error:
        print(error)
"""

KILLED = """
import sys, time
from pathlib import Path
from radio.runtime.files import atomic
with atomic(Path(sys.argv[1])) as old, atomic(Path(sys.argv[2])) as new:
    old.write_text("half")
    new.write_text("half")
    print("writing", flush=True)
    time.sleep(60)
"""


def test_a_full_disk_is_one_sentence_and_leaves_nothing(tmp_path):
    path = tmp_path / "results" / "artifact"
    answer = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(path)], capture_output=True, text=True
    )
    told = answer.stdout.splitlines()
    assert len(told) == 3, answer.stderr
    assert all(line.startswith(f"no space to write {path}: free some disk") for line in told)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_no_space_on_the_device_is_told(tmp_path):
    with (
        pytest.raises(RadioError, match="no space to write"),
        atomic(tmp_path / "x"),
        open("/dev/full", "w") as full,
    ):
        full.write("x")
    assert list(tmp_path.iterdir()) == []


def test_a_kill_while_writing_leaves_the_final_names_as_they_were(tmp_path):
    old, new = tmp_path / "old.json", tmp_path / "new.json"
    old.write_text("whole")
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(old), str(new)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "writing\n"
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    process.stdout.close()
    assert old.read_text() == "whole"
    assert not new.exists()


def test_what_cannot_be_written_is_told_before_the_work(tmp_path):
    check_writable(tmp_path / "new/folder/x.csv")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").touch()
    for path in (tmp_path / "file/x.csv", Path("/proc/x.csv")):
        with pytest.raises(RadioError, match=rf"{path} cannot be written .*another path for out"):
            check_writable(path)


def test_a_failing_block_leaves_no_scratch(tmp_path):
    with pytest.raises(ZeroDivisionError), atomic(tmp_path / "x") as scratch:
        scratch.write_text("half")
        _ = 1 / 0
    assert list(tmp_path.iterdir()) == []


def test_a_folder_is_replaced_whole(tmp_path):
    for name in ("old", "new"):
        with atomic(tmp_path / "folder") as scratch:
            scratch.mkdir()
            (scratch / name).touch()
    assert [file.name for file in (tmp_path / "folder").iterdir()] == ["new"]


def test_a_folder_that_is_replaced_keeps_its_name_until_the_new_one_is_whole(tmp_path, monkeypatch):
    """It is moved aside in one go: a kill while it is being deleted must not leave half of it."""
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "old").touch()
    names = []
    remove = shutil.rmtree

    def watched(path, **settings):
        names.append(Path(path).name)
        remove(path, **settings)

    monkeypatch.setattr(files.shutil, "rmtree", watched)
    with atomic(tmp_path / "folder") as scratch:
        scratch.mkdir()
    assert len(names) == 1 and names[0].startswith(".folder.")
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


@pytest.mark.parametrize("umask, mode", [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_files_have_the_mode_that_the_umask_leaves(tmp_path, umask, mode):
    before = os.umask(umask)
    try:
        save_tensors(tmp_path / "t.safetensors", {"a": torch.ones(2)}, {})
        write_json(tmp_path / "a.json", {})
        with atomic(tmp_path / "folder") as scratch:
            (scratch / "deep").mkdir(parents=True)
            save_tensors(scratch / "deep" / "t.safetensors", {"a": torch.ones(2)}, {})
    finally:
        os.umask(before)
    made = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(made) == 3
    assert {stat.S_IMODE(path.stat().st_mode) for path in made} == {mode}
    folders = {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.rglob("*") if path.is_dir()}
    assert folders == {0o777 & ~umask}


def test_json_round_trip_and_refusal_of_nan(tmp_path):
    path = tmp_path / "deep" / "a.json"
    write_json(path, {"a": [1, None, "x"]})
    assert read_json(path) == {"a": [1, None, "x"]}
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(path, {"a": float("nan")})
    assert read_json(path) == {"a": [1, None, "x"]}


@pytest.mark.parametrize("content", [b"", b'{"a": 1', b"\xff\xfe\x00"])
def test_corrupt_json_is_one_sentence(tmp_path, content):
    path = tmp_path / "a.json"
    path.write_bytes(content)
    with pytest.raises(RadioError, match=r"a\.json is not valid JSON .*: delete it and run again"):
        read_json(path)


def test_absent_files_are_one_sentence(tmp_path):
    for read in (read_json, load_tensors):
        with pytest.raises(RadioError, match="does not exist: run the step that makes it"):
            read(tmp_path / "none")
