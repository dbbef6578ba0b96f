"""A decoder block by block: what goes into the first block, and how a block is run on its own."""

import copy
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers import PreTrainedModel

from radio.models.load import DECODER, final_hidden


class _Captured(Exception):
    """The first block's inputs are known: the rest of the forward pass is not wanted."""


def decoder_blocks(model: PreTrainedModel) -> dict[str, nn.Module]:
    """The decoder's blocks by their full names, in order of execution."""
    layers = f"{DECODER[model.config.model_type]}.layers"
    blocks = model.get_submodule(layers).named_children()
    return {f"{layers}.{name}": block for name, block in blocks}


@torch.no_grad()
def first_block_inputs(
    model: PreTrainedModel, ids: Int[Tensor, "sequences length"], dtype: torch.dtype
) -> tuple[Float[Tensor, "sequences length width"], dict[str, Any]]:
    """Hidden states before the first block, and the other arguments that every block is given.

    The model itself computes both (embeddings, positions, OPT-350M's input projection, masks,
    rotary angles), so nothing of it is written a second time here. The arguments are those of one
    sequence; they suit all, since all have the same length and no padding.

    Args:
        model: in its own dtype.
        ids: sequences of equal length; they are run one at a time.
        dtype: what hidden states and floating-point arguments are cast to.

    Returns:
        Hidden states on the CPU, since they are many, and arguments where the model is.
    """
    hidden: list[Tensor] = []
    others: dict[str, Any] = {}

    def capture(block: nn.Module, args: tuple[Tensor], kwargs: dict[str, Any]) -> None:
        (states,) = args
        hidden.append(states.to(dtype).cpu())
        others.update(kwargs)
        raise _Captured

    first = next(iter(decoder_blocks(model).values()))
    handle = first.register_forward_pre_hook(capture, with_kwargs=True)
    try:
        for sequence in ids.split(1):
            try:
                final_hidden(model, sequence)
            except _Captured:
                continue
    finally:
        handle.remove()
    return torch.cat(hidden), {name: _cast(value, dtype) for name, value in others.items()}


def copy_as(block: nn.Module, dtype: torch.dtype) -> nn.Module:
    """A copy of a block to run in `dtype`: the original keeps its float32 weights, and no hooks."""
    return copy.deepcopy(block).to(dtype)


def _cast(value: Any, dtype: torch.dtype) -> Any:
    """Floating-point tensors in `dtype`, also inside tuples; all else as it is."""
    if isinstance(value, tuple):
        return tuple(_cast(item, dtype) for item in value)
    return value.to(dtype) if isinstance(value, Tensor) and value.is_floating_point() else value
