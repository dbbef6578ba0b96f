"""Quantize a model that is on disk, block by block, into parts that are then joined to one file.

A killed run goes on at the block that it had come to.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from radio.models import StreamedModel, decoder_linears
from radio.pack.file import QuantizedModel, Size, assemble, join_parts, part_content
from radio.quantize.blockwise import BlockStates, MethodInputs, check_layers, quantize_blocks
from radio.quantize.methods.base import Method
from radio.runtime.device import CPU
from radio.runtime.errors import RadioError
from radio.runtime.memory import release_free_memory
from radio.runtime.progress import progress
from radio.runtime.state import StateStore


@dataclass(frozen=True)
class Parts:
    """The quantized blocks of a killed run: a folder with one state a block.

    Attributes:
        folder: of the files.
        key: of all that decides the codes.
    """

    folder: Path
    key: str

    def block(self, index: int) -> StateStore:
        """Return where the block `index` is kept."""
        return StateStore(self.folder / f"block-{index:05}.safetensors", self.key)

    def hidden(self) -> StateStore:
        """Return where the hidden states before the next block are kept."""
        return StateStore(self.folder / "hidden.safetensors", self.key)

    def first_missing(self, count: int) -> int:
        """Return the index of the first of `count` blocks that is absent, damaged or outdated."""
        return next((i for i in range(count) if self.block(i).load() is None), count)

    def remove(self) -> None:
        """Remove all parts, and the folder if it holds nothing else."""
        for path in [*self.folder.glob("block-*.safetensors"), self.hidden().path]:
            path.unlink(missing_ok=True)
        if self.folder.is_dir() and not any(self.folder.iterdir()):
            self.folder.rmdir()


def quantize_to_file(
    streamed: StreamedModel,
    method: Method,
    rate_bits: float,
    given: MethodInputs,
    out: Path,
    parts: Parts,
    device: torch.device = CPU,
) -> Size:
    """Write what `save_quantized` would write of the model in memory, byte for byte.

    Memory holds two float32 blocks, and the hidden states of the calibration text if there is one.

    Args:
        streamed: the model, in float32.
        method: what turns a layer into codes.
        rate_bits: nominal bits per weight.
        given: what the method needs.
        out: path of the quantized file.
        parts: the blocks that are done; the caller removes them.
        device: where each block is for its turn.

    Raises:
        RadioError: as for `quantize_layers`, or a block cannot be read.
    """
    check_layers(given, decoder_linears(streamed.model))
    _save_blocks(streamed, method, rate_bits, given, parts, device)
    release_free_memory()
    # all that is outside the blocks, which are on the meta device
    rest = {n: t for n, t in assemble(streamed.model, {}).rest.items() if not t.is_meta}
    outside = part_content(QuantizedModel({}, rest))
    return join_parts(out, [outside, *_saved(parts, streamed.block_count)])


def _save_blocks(
    streamed: StreamedModel,
    method: Method,
    rate_bits: float,
    given: MethodInputs,
    parts: Parts,
    device: torch.device,
) -> None:
    """Save a part for each block that has none."""
    states = None if given.blocks is None else BlockStates.before_all(streamed.model, given)
    count = streamed.block_count
    done = parts.first_missing(count)
    if states is not None:
        done = _resumed_states(states, parts, done)
    blocks = quantize_blocks(streamed.blocks(start=done), method, rate_bits, given, states, device)
    for each in progress(blocks, f"quantize blocks {done + 1} to {count}", count - done):
        parts.block(done).save(*part_content(assemble(each.block, each.layers, each.name)))
        done += 1
        if states is not None:
            parts.hidden().save({"hidden": states.hidden}, {"blocks": done})


def _resumed_states(states: BlockStates, parts: Parts, done: int) -> int:
    """Set `states` to those before the first block to be quantized, and return its index.

    Only the states after the last block are kept: if an earlier block is lost, all start over.
    """
    kept = parts.hidden().load()
    if kept is None or kept[1]["blocks"] > done:
        return 0
    tensors, content = kept
    states.hidden.copy_(tensors["hidden"])
    return int(content["blocks"])


def _saved(parts: Parts, count: int) -> Iterator[tuple[dict[str, Tensor], dict[str, Any]]]:
    """All parts in order, read again."""
    for index in range(count):
        kept = parts.block(index).load()
        if kept is None:
            raise RadioError(
                f"{parts.block(index).path} was damaged since it was written: give the same "
                "command again, which computes it again, and check the disk"
            )
        yield kept
