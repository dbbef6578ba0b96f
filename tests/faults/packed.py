"""Packed files of tiny models, and damage to them whose checksums are right."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from radio.models import load_model
from radio.pack.file import assemble, save_quantized
from radio.pack.hf.directory import _write
from radio.pack.hf.integrity import MANIFEST
from radio.quantize.blockwise import MethodInputs, quantize_layers
from radio.quantize.methods.owq import Owq
from radio.runtime.files import read_json
from radio.runtime.tensors import load_tensors, save_tensors
from tests.pack.test_file import quantized_by
from tests.tiny import tiny_llama

Tensors, Metadata = dict[str, Tensor], dict[str, Any]
Damage = Callable[[Tensors, Metadata], None]


def packed_file(folder: Path, method: str) -> Path:
    """Return the quantized file of a tiny Llama of one block, by "owq" or one of `METHODS`."""
    model = load_model(tiny_llama(folder / "model", num_hidden_layers=1))
    if method == "owq":
        given = MethodInputs(blocks=torch.arange(64).view(2, 32) + 5)
        quantized = assemble(model, quantize_layers(model, Owq(extra_bits=1.0), 3.0, given))
    else:
        quantized = quantized_by(model, method)
    save_quantized(folder / "q.safetensors", quantized)
    return folder / "q.safetensors"


def damaged(path: Path, out: Path, damage: Damage) -> Path:
    """Return a copy of a file after `damage`, with the checksums of what it then holds."""
    tensors, metadata = load_tensors(path)
    tensors = {name: tensor.clone() for name, tensor in tensors.items()}
    damage(tensors, metadata)
    save_tensors(out, tensors, metadata)
    return out


def resealed(folder: Path, out: Path) -> Path:
    """Return a copy of a packed directory with the digests of what it now holds."""
    manifest = read_json(folder / MANIFEST)

    def fill(scratch: Path) -> None:
        shutil.copytree(folder, scratch, dirs_exist_ok=True)
        (scratch / MANIFEST).unlink()

    _write(out, fill, manifest)
    return out
