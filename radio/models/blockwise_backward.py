"""Back-propagation through a model whose blocks are on disk; each block is recomputed."""

import shutil
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from radio.models.streaming import StreamedModel
from radio.runtime.progress import progress
from radio.runtime.tensors import load_tensors, save_tensors


@dataclass(frozen=True)
class BlockwiseBackward:
    """Forward pass block by block, keeping the inputs of each; then backward block by block.

    Attributes:
        streamed: the model, in the dtype of the computation.
        sequences: number of sequences that pass each block while it is loaded, so that weights are
            read twice for all of them.
        folder: folder for the inputs of blocks; None keeps them in memory.
    """

    streamed: StreamedModel
    sequences: int
    folder: Path | None = None

    def __post_init__(self) -> None:
        # cast buffers too, as for an in-memory model that is cast for calibration
        self.streamed.model.to(self.streamed.dtype)

    def backward(
        self,
        ids: Int[Tensor, "sequences length"],
        from_output: Callable[[int], None],
        watching: Callable[[Mapping[str, nn.Linear]], AbstractContextManager[None]],
    ) -> None:
        """Back-propagate `sequences` or fewer, one at a time, through all blocks.

        The results equal those of a backward pass through the whole model, bit for bit.

        Args:
            ids: token ids.
            from_output: runs forward and backward for the sequence of the given index through
                `streamed.model`, whose blocks are replaced by their outputs.
            watching: a context in which a block's linear layers, given by their full names, run the
                forward and backward pass of each sequence in turn.

        Raises:
            RadioError: a block cannot be read, or inputs cannot be stored.
        """
        what = f"{len(ids)} sequences"
        shelf = _Shelf(self.folder)
        shelf.clear()
        count = self.streamed.block_count
        device = self.streamed.device
        hidden, others = self.streamed.through_blocks(ids, f"{what} forward", shelf.put)
        gradient = torch.empty_like(hidden)
        for index, states in enumerate(hidden.split(1)):
            leaf = states.to(device, copy=True).requires_grad_(True)
            with self.streamed.after_blocks(leaf):
                from_output(index)
            gradient[index] = _gradient(leaf)
        blocks = self.streamed.blocks(backward=True)
        for name, block in progress(blocks, f"{what} backward", count):
            inputs = shelf.take(name)
            linears = {
                f"{name}.{inner}": module
                for inner, module in block.named_modules()
                if isinstance(module, nn.Linear)
            }
            with watching(linears):
                for index, states in enumerate(inputs.split(1)):
                    leaf = states.to(device, copy=True).requires_grad_(True)
                    block(leaf, **others).backward(gradient[index : index + 1].to(device))
                    gradient[index] = _gradient(leaf)
        shelf.clear()


@dataclass
class _Shelf:
    """Tensors by name, each stored once and taken once, in memory or as files in a folder."""

    folder: Path | None
    kept: dict[str, Tensor] = field(default_factory=dict)

    def clear(self) -> None:
        """Remove the inputs left by a killed run, and the folder if nothing else is in it."""
        if self.folder is None or not self.folder.is_dir():
            return
        for left in self.folder.glob("*.layers.*"):  # files of blocks, and their scratch folders
            shutil.rmtree(left) if left.is_dir() else left.unlink()
        if not any(self.folder.iterdir()):
            self.folder.rmdir()

    def put(self, name: str, tensor: Float[Tensor, "sequences length width"]) -> None:
        if self.folder is None:
            self.kept[name] = tensor
        else:
            save_tensors(self.folder / name, {"states": tensor}, {})

    def take(self, name: str) -> Float[Tensor, "sequences length width"]:
        if self.folder is None:
            return self.kept.pop(name)
        file = self.folder / name
        states = load_tensors(file)[0]["states"].clone()
        file.unlink()
        return states


def _gradient(leaf: Tensor) -> Tensor:
    """Return the gradient of a leaf after a backward pass, on the CPU, without the batch axis."""
    assert leaf.grad is not None
    return leaf.grad[0].cpu()
