"""Files are whole or absent, whatever happens while they are written."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from radio.runtime.errors import RadioError
from radio.runtime.files import atomic, load_tensors, read_json, save_tensors, write_json

# a disk of 64 KiB, as far as this process can tell
FULL_DISK = """
import resource, sys
from pathlib import Path
import torch
from radio.runtime.errors import RadioError
from radio.runtime.files import atomic, save_tensors, write_json

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
    assert list(path.parent.iterdir()) == []


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


def test_tensors_round_trip(tmp_path):
    path = tmp_path / "t.safetensors"
    tensor = torch.arange(6, dtype=torch.int16).reshape(2, 3).T  # not contiguous
    save_tensors(path, {"codes": tensor}, {"bits": 3})
    tensors, metadata = load_tensors(path)
    assert torch.equal(tensors["codes"], tensor)
    assert metadata == {"bits": 3}


def test_equal_tensors_give_equal_bytes(tmp_path):
    tensors = {"a": torch.ones(3), "b": torch.zeros(2)}
    save_tensors(tmp_path / "1", tensors, {"x": 1, "y": 2})
    save_tensors(tmp_path / "2", dict(reversed(tensors.items())), {"y": 2, "x": 1})
    assert (tmp_path / "1").read_bytes() == (tmp_path / "2").read_bytes()


@pytest.mark.parametrize("keep", [0, 4, 60, -1])
def test_truncated_tensors_are_one_sentence(tmp_path, keep):
    path = tmp_path / "t.safetensors"
    save_tensors(path, {"a": torch.ones(100)}, {})
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(RadioError, match="corrupt or not a radio artifact"):
        load_tensors(path)


def test_tensors_of_others_are_refused(tmp_path):
    from safetensors.torch import save_file

    save_file({"a": torch.ones(2)}, tmp_path / "t.safetensors")
    with pytest.raises(RadioError, match="not a radio artifact"):
        load_tensors(tmp_path / "t.safetensors")
