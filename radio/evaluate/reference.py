"""The uncompressed model on a text, computed once: final hidden states and losses.

Hidden states are cached instead of logits: they are a vocabulary / width smaller, and the logits
are one product with the head away.
"""

from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float, Float16, Int
from torch import Tensor

from radio.evaluate.divergence import token_nll
from radio.models import Runnable, final_states, head_of
from radio.runtime.errors import RadioError
from radio.runtime.tensors import load_tensors, save_tensors


@dataclass(frozen=True)
class Reference:
    """What the uncompressed model gives on a text.

    Attributes:
        hidden: final hidden states, in float16 to halve the cache.
        nll: mean negative log-likelihood of each block, nats, from the unrounded states.
        text_sha256: hash of the text's tokens.
    """

    hidden: Float16[Tensor, "blocks length width"]
    nll: Float[Tensor, " blocks"]
    text_sha256: str


@torch.no_grad()
def compute_reference(
    model: Runnable, blocks: Int[Tensor, "blocks length"], text_sha256: str
) -> Reference:
    """Run `model` over all blocks; what it gives is on the CPU."""
    hidden, nll = [], []
    for ids, states in zip(blocks, final_states(model, blocks, "reference"), strict=True):
        nll.append(token_nll(states, ids, head_of(model)).mean().cpu())
        hidden.append(states.half().cpu())
    return Reference(torch.stack(hidden), torch.stack(nll), text_sha256)


def save_reference(path: Path, reference: Reference) -> None:
    """Write one safetensors file."""
    tensors = {"hidden": reference.hidden, "nll": reference.nll}
    save_tensors(path, tensors, {"text_sha256": reference.text_sha256})


def load_reference(path: Path, text_sha256: str) -> Reference:
    """Read what `save_reference` wrote.

    Raises:
        RadioError: the reference was computed on another text.
    """
    tensors, metadata = load_tensors(path)
    if metadata["text_sha256"] != text_sha256:
        raise RadioError(
            f"{path} was computed on another text than artifacts.tokens: run `radio reference` "
            "on this text"
        )
    return Reference(tensors["hidden"], tensors["nll"], text_sha256)
