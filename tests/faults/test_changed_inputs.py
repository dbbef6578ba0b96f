"""Content that changes under an unchanged path is noticed."""

import os
import shutil
from pathlib import Path

import pytest

from radio.cli import main
from radio.runtime import content
from radio.runtime.content import sha256_of_files
from radio.workflow import JobGraph
from radio.workflow.fingerprint import _fingerprint, fingerprint
from tests.tiny import tiny_llama

TEXT = "\n\n".join(
    f"Paragraph {n} has the square {n * n} in it, and nothing more." for n in range(90)
)
STEPS = ("prepare", "tokenize", "quantize", "evaluate")


@pytest.fixture
def inputs(tmp_path: Path) -> dict[str, Path]:
    """A checkpoint and a text of the user's."""
    (tmp_path / "text.txt").write_text(TEXT, encoding="utf-8")
    return {"model": tiny_llama(tmp_path / "model"), "data": tmp_path / "text.txt"}


def recipes(inputs: dict[str, Path]) -> dict[str, str]:
    """Recipes as a new process finds them."""
    _fingerprint.cache_clear()
    plan = JobGraph(tuple(f"{key}.path={path}" for key, path in inputs.items()))
    names = {"model": "local", "data": "local", "method": "rtn", "rate": "4"}
    return {step: fingerprint(plan, step, **names) for step in STEPS}


def flip_a_bit(path: Path) -> None:
    """Change one bit; size and modification time stay."""
    times = path.stat()
    damaged = bytearray(path.read_bytes())
    damaged[-1] ^= 1
    path.write_bytes(damaged)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


@pytest.mark.parametrize(
    "changed, users",
    [
        ("model/model.safetensors", set(STEPS)),
        ("model/config.json", set(STEPS)),
        ("model/generation_config.json", set(STEPS)),
        ("model/tokenizer.json", set(STEPS)),
        ("model/README.md", set()),
        ("text.txt", {"tokenize", "evaluate"}),
    ],
)
def test_recipes_follow_the_content_of_files(
    inputs: dict[str, Path], tmp_path: Path, changed: str, users: set[str]
) -> None:
    (tmp_path / "model/README.md").write_text("words")
    before = recipes(inputs)
    assert recipes(inputs) == before
    flip_a_bit(tmp_path / changed)
    after = recipes(inputs)
    assert {step for step in STEPS if after[step] != before[step]} == users


def test_a_folder_of_texts_counts_by_the_files_that_are_read(tmp_path: Path) -> None:
    files = {"train": "a/train.parquet", "test": "a/test.parquet"}
    for name in (*files.values(), "a/other.parquet"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    config = {"data": {"path": str(tmp_path), "source": {"files": files}}}
    before = content.digests_of_paths(config)
    flip_a_bit(tmp_path / "a/other.parquet")
    assert content.digests_of_paths(config) == before
    flip_a_bit(tmp_path / "a/test.parquet")
    assert content.digests_of_paths(config) != before


def test_a_step_refuses_weights_that_are_not_those_of_its_model(
    inputs: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest, model = tmp_path / "model.json", f"model.path='{inputs['model']}'"
    prepare = ["prepare", "model=local", model, f"out='{manifest}'"]
    out = tmp_path / "coded.safetensors"
    quantize = ["quantize", "model=local", model, "method=rtn", "rate_bits=4"]
    quantize += [f"artifacts.model='{manifest}'", f"out='{out}'"]
    assert main(prepare) == 0 and main(quantize) == 0
    flip_a_bit(inputs["model"] / "model.safetensors")
    capsys.readouterr()
    assert main(quantize) == 2
    message = capsys.readouterr().err.strip().splitlines()[-1]
    assert f"the weights in {inputs['model']} changed" in message
    assert "run radio prepare again" in message
    assert main(prepare) == 0 and main(quantize) == 0


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[int]:
    """Numbers of files that were read to be hashed; all files are worth remembering and old."""
    counts: list[int] = []
    real = content._sha256
    monkeypatch.setattr(
        content, "_sha256", lambda stamps: (counts.append(len(stamps)), real(stamps))[1]
    )
    monkeypatch.setattr(content, "REMEMBERED_BYTES", 0)
    monkeypatch.setattr(content, "SETTLED_NS", -(10**18))
    monkeypatch.setenv("RADIO_CACHE", str(tmp_path / "cache"))
    return counts


def again(path: Path) -> str:
    """The SHA-256 as a new process finds it."""
    content._remembered.cache_clear()
    return sha256_of_files([path])


@pytest.mark.parametrize("damage", ["nothing", "truncated", "garbage", "a list", "a folder"])
def test_a_remembered_hash_is_read_and_a_damaged_one_made_again(
    tmp_path: Path, hashed: list[int], damage: str
) -> None:
    file = tmp_path / "weights"
    file.write_bytes(b"some bytes")
    first = again(file)
    [record] = (tmp_path / "cache/sha256").iterdir()
    if damage == "truncated":
        record.write_bytes(record.read_bytes()[:-9])
    elif damage == "garbage":
        record.write_bytes(b"\xff\x00")
    elif damage == "a list":
        record.write_text("[]")
    elif damage == "a folder":
        record.unlink()
        record.mkdir()
    assert again(file) == first
    assert len(hashed) == (1 if damage == "nothing" else 2)


def test_a_hash_is_not_remembered_for_other_bytes(tmp_path: Path, hashed: list[int]) -> None:
    file = tmp_path / "weights"
    file.write_bytes(b"some bytes")
    found = {again(file)}
    flip_a_bit(file)
    found.add(again(file))
    shutil.copy2(file, tmp_path / "copy")
    (tmp_path / "copy").write_bytes(b"same bytes")
    (tmp_path / "copy").rename(file)  # another inode
    found.add(again(file))
    assert len(found) == 3 and len(hashed) == 3


def test_a_file_that_was_just_written_is_hashed_again(
    tmp_path: Path, hashed: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may change once more within the resolution of its time stamps."""
    monkeypatch.setattr(content, "SETTLED_NS", 2 * 10**9)
    file = tmp_path / "weights"
    file.write_bytes(b"some bytes")
    assert again(file) == again(file) and len(hashed) == 2


def test_a_cache_that_cannot_be_written_is_done_without(
    tmp_path: Path, hashed: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("RADIO_CACHE", str(tmp_path / "file"))
    assert len(again(tmp_path / "file")) == 64
