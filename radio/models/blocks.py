"""Decoder blocks: the inputs of the first block, and copies of blocks to run separately."""

import copy
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers import PreTrainedModel

from radio.models.load import DECODER, final_hidden


class _Captured(Exception):
    """Raised when the first block's inputs are captured, to stop the forward pass."""


def decoder_blocks(model: PreTrainedModel) -> dict[str, nn.Module]:
    """Return the decoder's blocks by their full names, in order of execution."""
    layers = f"{DECODER[model.config.model_type]}.layers"
    blocks = model.get_submodule(layers).named_children()
    return {f"{layers}.{name}": block for name, block in blocks}


@torch.no_grad()
def first_block_inputs(
    model: PreTrainedModel, ids: Int[Tensor, "sequences length"], dtype: torch.dtype
) -> tuple[Float[Tensor, "sequences length width"], dict[str, Any]]:
    """Return the hidden states before the first block, and the other arguments of every block.

    The model itself computes both (embeddings, positions, OPT-350M's input projection, masks,
    rotary angles), so none of this is reimplemented. The arguments are those of one sequence; they
    fit all sequences, which have the same length and no padding.

    Args:
        model: in its own dtype.
        ids: sequences of equal length, run one at a time.
        dtype: type to cast hidden states and floating-point arguments to.

    Returns:
        Hidden states on the CPU, since they are large, and arguments on the model's device.
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
    """Return a copy of a block in `dtype`, without hooks; the original stays in float32."""
    return copy.deepcopy(block).to(dtype)


def _cast(value: Any, dtype: torch.dtype) -> Any:
    """Return floating-point tensors in `dtype`, also inside tuples; all else unchanged."""
    if isinstance(value, tuple):
        return tuple(_cast(item, dtype) for item in value)
    return value.to(dtype) if isinstance(value, Tensor) and value.is_floating_point() else value
