"""The reference: final hidden states and losses of the uncompressed model on a text.

The cache holds hidden states, not logits: they are smaller by vocabulary / width, and one product
with the head gives the logits.
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
    """Results of the uncompressed model on a text.

    Attributes:
        hidden: final hidden states, in float16 to halve the cache.
        nll: mean negative log-likelihood of each sequence, nats, from the unrounded states.
        text_sha256: hash of the text's tokens.
    """

    hidden: Float16[Tensor, "sequences length width"]
    nll: Float[Tensor, " sequences"]
    text_sha256: str


@torch.no_grad()
def compute_reference(
    model: Runnable, sequences: Int[Tensor, "sequences length"], text_sha256: str
) -> Reference:
    """Return the reference of `model` on all sequences, on the CPU."""
    hidden, nll = [], []
    for ids, states in zip(sequences, final_states(model, sequences, "reference"), strict=True):
        nll.append(token_nll(states, ids, head_of(model)).mean().cpu())
        hidden.append(states.half().cpu())
    return Reference(torch.stack(hidden), torch.stack(nll), text_sha256)


def save_reference(path: Path, reference: Reference) -> None:
    """Write one safetensors file."""
    tensors = {"hidden": reference.hidden, "nll": reference.nll}
    save_tensors(path, tensors, {"text_sha256": reference.text_sha256})


def load_reference(path: Path, text_sha256: str) -> Reference:
    """Return a reference written by `save_reference`.

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
