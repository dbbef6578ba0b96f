"""References and evaluations of a model on disk: the files of those of a model in memory."""

from pathlib import Path

import pytest
import torch

from radio.cli import main
from radio.data.tokens import hashed_blocks, save_token_splits
from radio.runtime.files import write_json
from radio.runtime.manifest import read_manifest
from tests.manifests import manifest_of
from tests.tiny import tiny_llama, tiny_opt

IDS = torch.randint(2, 300, (4, 24), generator=torch.Generator().manual_seed(5))


@pytest.fixture(params=[tiny_llama, tiny_opt], ids=["llama", "opt"])
def folder(request, tmp_path) -> Path:
    checkpoint = request.param(tmp_path / "checkpoint")
    write_json(tmp_path / "model.json", {"wall_s": 0.0, "measured": {"path": str(checkpoint)}})
    save_token_splits(tmp_path / "tokens.safetensors", {"test": hashed_blocks(IDS, "test", [])})
    manifest_of(tmp_path / "tokens.safetensors", "tokenize")
    assert made(tmp_path, "quantize", "coded.safetensors", "method=rtn", "rate_bits=3") == 0
    return tmp_path


def made(folder: Path, step: str, out: str, *words: str) -> int:
    given = [f"artifacts.model={folder}/model.json", f"out={folder}/{out}", *words]
    return main([step, *given])


def evaluated(folder: Path, name: str, *words: str) -> tuple[list[bytes], dict[str, object]]:
    """Bytes of a reference and of an evaluation against it, and what the latter has measured."""
    text, coded = f"artifacts.tokens={folder}/tokens.safetensors", f"{folder}/coded.safetensors"
    assert made(folder, "reference", f"{name}_reference.safetensors", text, *words) == 0
    reference = f"artifacts.reference={folder}/{name}_reference.safetensors"
    given = [text, reference, f"artifacts.quantized={coded}"]
    assert made(folder, "evaluate", f"{name}.csv", *given, *words) == 0
    files = [folder / f"{name}_reference.safetensors", folder / f"{name}.csv"]
    return [file.read_bytes() for file in files], read_manifest(files[1])["measured"]


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_same_bytes_whether_asked_to_stream_or_short_of_memory(folder, dtype):
    files, whole = evaluated(folder, "whole", f"dtype={dtype}")
    assert whole.pop("streamed") is False and whole["kl"] > 1e-4
    for how in ("streaming=true", "memory_gb=0.001"):
        again, measured = evaluated(folder, "parts", f"dtype={dtype}", how)
        assert measured.pop("streamed") is True
        assert (again, measured) == (files, whole)


def test_bad_settings_and_a_damaged_checkpoint_are_one_sentence(folder, capsys):
    text = f"artifacts.tokens={folder}/tokens.safetensors"
    assert made(folder, "reference", "r.safetensors", text, "streaming=maybe") == 2
    assert "streaming=maybe is not accepted: set true, false or auto" in capsys.readouterr().err
    weights = folder / "checkpoint/model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])
    assert made(folder, "reference", "r.safetensors", text, "streaming=true") == 2
    assert "fetch or make the checkpoint again" in capsys.readouterr().err
    assert not (folder / "r.safetensors").exists()
