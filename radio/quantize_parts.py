"""Quantize a model that is on disk, block by block, into parts that are then joined to one file.

A killed run goes on at the block that it had come to.
"""

import shutil
from pathlib import Path

import torch
from torch import nn

from radio.checkpoint import QuantizedModel, Size, compress, join_parts, save_part
from radio.methods.base import Method
from radio.models import StreamedModel, decoder_linears
from radio.quantize import BlockStates, Given, check_layers, quantize_blocks
from radio.runtime.device import CPU
from radio.runtime.files import read_json, write_json
from radio.runtime.memory import give_back
from radio.runtime.progress import progress
from radio.runtime.tensors import load_tensors, save_tensors

IDENTITY, OUTSIDE, HIDDEN = "identity.json", "outside.safetensors", "hidden.safetensors"


def quantize_to_file(
    streamed: StreamedModel,
    method: Method,
    rate_bits: float,
    given: Given,
    out: Path,
    parts: Path,
    decided_by: str,
    device: torch.device = CPU,
) -> Size:
    """Write what `save_quantized` would write of the model in memory, byte for byte.

    Memory holds two float32 blocks, and the hidden states of the calibration text if there is one.

    Args:
        streamed: the model, in float32.
        method: what turns a layer into codes.
        rate_bits: nominal bits a weight.
        given: what the method needs.
        out: path of the quantized file.
        parts: folder for the blocks that are done; the caller removes it.
        decided_by: all that decides the codes; parts under another are not used.
        device: where each block is for its turn.

    Raises:
        RadioError: as for `quantize_layers`, or a block cannot be read.
    """
    check_layers(given, decoder_linears(streamed.model))
    _claim(parts, decided_by)
    _save_outside(streamed.model, parts / OUTSIDE)
    _save_blocks(streamed, method, rate_bits, given, parts, device)
    give_back()
    return join_parts(
        out, [parts / OUTSIDE, *(_part(parts, i) for i in range(streamed.block_count))]
    )


def _save_outside(model: nn.Module, path: Path) -> None:
    """Write all that is outside the blocks, which are not there."""
    held = {n: t for n, t in compress(model, {}).rest.items() if not t.is_meta}
    save_part(path, QuantizedModel({}, held))


def _save_blocks(
    streamed: StreamedModel,
    method: Method,
    rate_bits: float,
    given: Given,
    parts: Path,
    device: torch.device,
) -> None:
    """Write a part for each block that has none."""
    states = None if given.blocks is None else BlockStates.before_all(streamed.model, given)
    done = _blocks_done(parts, states)
    left = streamed.blocks(start=done)
    blocks = quantize_blocks(left, method, rate_bits, given, states, device)
    count = streamed.block_count
    for each in progress(blocks, f"quantize blocks {done + 1} to {count}", count - done):
        save_part(_part(parts, done), compress(each.block, each.layers, each.name))
        done += 1
        if states is not None:
            save_tensors(parts / HIDDEN, {"hidden": states.hidden}, {"blocks": done})


def _claim(parts: Path, decided_by: str) -> None:
    """Empty the folder unless its parts are of this quantization."""
    if (parts / IDENTITY).exists() and read_json(parts / IDENTITY)["decided_by"] == decided_by:
        return
    shutil.rmtree(parts, ignore_errors=True)
    write_json(parts / IDENTITY, {"decided_by": decided_by})


def _blocks_done(parts: Path, states: BlockStates | None) -> int:
    """Blocks that are not to be quantized again; `states` become those that go into the next."""
    if states is None:
        return len(list(parts.glob("block-*.safetensors")))
    if not (parts / HIDDEN).exists():
        return 0
    tensors, metadata = load_tensors(parts / HIDDEN)
    states.hidden.copy_(tensors["hidden"])
    return int(metadata["blocks"])


def _part(parts: Path, index: int) -> Path:
    return parts / f"block-{index:05}.safetensors"
