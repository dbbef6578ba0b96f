"""A text through a model, wherever the model is: in memory, or on disk block by block."""

from collections.abc import Iterator

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers import PreTrainedModel

from radio.models.load import final_hidden, head
from radio.models.streaming import StreamedModel
from radio.runtime.progress import progress

Runnable = PreTrainedModel | StreamedModel


@torch.no_grad()
def final_states(
    model: Runnable, blocks: Int[Tensor, "blocks length"], what: str
) -> Iterator[Float[Tensor, "length width"]]:
    """What goes into the head for each block of a text in turn, where the head is.

    Both kinds of models give the same bytes.

    Args:
        model: in memory, or on disk: then all blocks of the text go through a decoder block
            together, and the first result comes after the last decoder block.
        blocks: token ids.
        what: said of the progress.
    """
    if isinstance(model, StreamedModel):
        yield from model.final_states(blocks, what)
        return
    for ids in progress(blocks, what):
        yield final_hidden(model, ids[None])[0]


def head_of(model: Runnable) -> nn.Linear:
    """The layer from final hidden states to logits."""
    return head(model.model if isinstance(model, StreamedModel) else model)
