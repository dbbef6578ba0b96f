"""Run a text through a model that is in memory, or on disk block by block."""

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
    """Yield the inputs of the head for each sequence in turn, on the head's device.

    Both kinds of models give the same bytes.

    Args:
        model: in memory, or on disk: then all sequences pass one decoder block before the next is
            loaded, and the first result follows the last decoder block.
        blocks: token ids.
        what: label of the progress bar.
    """
    if isinstance(model, StreamedModel):
        yield from model.final_states(blocks, what)
        return
    for ids in progress(blocks, what):
        yield final_hidden(model, ids[None])[0]


def head_of(model: Runnable) -> nn.Linear:
    """Return the layer that maps final hidden states to logits."""
    return head(model.model if isinstance(model, StreamedModel) else model)
