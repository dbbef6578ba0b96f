"""Quantize a model on disk block by block, into parts that are then joined into one file.

A killed run resumes at its current block.
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
    """The finished blocks of a run that may have been killed: a folder with one state per block.

    Attributes:
        folder: folder of the files.
        key: key of everything that determines the codes.
    """

    folder: Path
    key: str

    def block(self, index: int) -> StateStore:
        """Return the store of block `index`."""
        return StateStore(self.folder / f"block-{index:05}.safetensors", self.key)

    def hidden(self) -> StateStore:
        """Return the store of the hidden states before the next block."""
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
    """Write the file that `save_quantized` would write for the model in memory, byte for byte.

    Memory holds two float32 blocks, and the hidden states of the calibration text, if any.

    Args:
        streamed: the model, in float32.
        method: method that quantizes a layer.
        rate_bits: nominal bits per weight.
        given: inputs of the method.
        out: path of the quantized file.
        parts: finished blocks; the caller removes them.
        device: device on which blocks are quantized, one at a time.

    Returns:
        The stored size of all layers.

    Raises:
        RadioError: as for `quantize_layers`, or a block cannot be read.
    """
    check_layers(given, decoder_linears(streamed.model))
    _save_blocks(streamed, method, rate_bits, given, parts, device)
    release_free_memory()
    # everything outside the blocks, which are on the meta device
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
    """Set `states` to those before the first block to quantize, and return its index.

    Only the states after the last finished block are saved: if an earlier block is lost, all
    blocks are quantized again.
    """
    kept = parts.hidden().load()
    if kept is None or kept[1]["blocks"] > done:
        return 0
    tensors, content = kept
    states.hidden.copy_(tensors["hidden"])
    return int(content["blocks"])


def _saved(parts: Parts, count: int) -> Iterator[tuple[dict[str, Tensor], dict[str, Any]]]:
    """Yield all saved parts in order."""
    for index in range(count):
        kept = parts.block(index).load()
        if kept is None:
            raise RadioError(
                f"{parts.block(index).path} was damaged since it was written: give the same "
                "command again, which computes it again, and check the disk"
            )
        yield kept
