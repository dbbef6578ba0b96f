"""Samplers: the outputs of a calibration sequence that are back-propagated.

The expectation over sequences of a sampler's squared weight gradients, times `per_token`, is the
squared derivative summed over output coordinates and averaged over tokens
(`LayerStatistics.grad_var`).
"""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import PreTrainedModel

from radio.calibrate.random_sign import backward_random_signs
from radio.models import final_hidden
from radio.runtime.progress import progress
from radio.theory.pca import author_axes, principal_axes


@runtime_checkable
class Sampler(Protocol):
    """Computes a sample of squared gradients from a sequence."""

    @property
    def per_token(self) -> float:
        """Return the factor from a sample's squared gradients to one token and all coordinates."""
        ...

    def backward(self, model: PreTrainedModel, ids: Int[Tensor, "1 length"], index: int) -> None:
        """Back-propagate sample `index` in one or several passes."""
        ...


@dataclass(frozen=True)
class PcaTokens:
    """One PCA coefficient of several tokens, each token back-propagated separately (paper).

    A sample is the sum over the tokens of (d v_k . z_t / dw)^2 for one axis v_k; axes alternate
    between samples. Each sample has `tokens` of the `axes` x length squares.

    Attributes:
        axes: v_k, orthonormal, as rows.
        tokens: number of tokens per sequence that are back-propagated.
    """

    axes: Float[Tensor, "axes width"]
    tokens: int

    @property
    def per_token(self) -> float:
        """Return the factor from one axis and `tokens` tokens to all axes and one token."""
        return len(self.axes) / self.tokens

    def backward(self, model: PreTrainedModel, ids: Int[Tensor, "1 length"], index: int) -> None:
        """Run `tokens` backward passes through one graph, for axis `index` modulo the axes."""
        hidden = final_hidden(model, ids)[0]
        axis = self.axes[index % len(self.axes)].to(hidden.device)
        positions = token_positions(len(hidden), self.tokens)
        for position in positions:
            retain = position != positions[-1]
            (hidden[position].float() @ axis).backward(retain_graph=retain)


@dataclass(frozen=True)
class RandomSigns:
    """A random-sign sum of all coordinates of all tokens, in one backward pass (`RandomSign`).

    Attributes:
        distortion_measure: "hidden" or "kl", see `RandomSign`.
        seed: seed of the signs.
        length: tokens per sequence.
    """

    distortion_measure: str
    seed: int
    length: int

    @property
    def per_token(self) -> float:
        """Return the factor from all tokens to one token."""
        return 1 / self.length

    def backward(self, model: PreTrainedModel, ids: Int[Tensor, "1 length"], index: int) -> None:
        """Run one backward pass, with the signs of sample `index`."""
        backward_random_signs(model, ids, self.distortion_measure, self.seed, index)


def token_positions(length: int, tokens: int) -> list[int]:
    """Return evenly spaced positions from the first to the last, 2 <= tokens <= length.

    >>> positions = token_positions(2048, 17)  # author's code: stride 128
    >>> positions[:3], positions[-2:]
    ([0, 127, 255], [1919, 2047])
    """
    return [index * (length - 1) // (tokens - 1) for index in range(tokens)]


@torch.no_grad()
def output_axes(
    model: PreTrainedModel,
    blocks: Int[Tensor, "blocks length"],
    axes: int,
    follow_author_code: bool,
) -> Float[Tensor, "axes width"]:
    """Return the principal axes of the final hidden states over all blocks, in float32."""
    moment_sum, mean_sum = torch.zeros(1), torch.zeros(1)
    for ids in progress(blocks, "PCA"):
        hidden = final_hidden(model, ids[None])[0].double()
        moment_sum = moment_sum + (hidden.T @ hidden / len(hidden)).cpu()
        mean_sum = mean_sum + hidden.mean(dim=0).cpu()
    if follow_author_code:
        return author_axes(moment_sum, mean_sum, axes).float()
    return principal_axes(moment_sum / len(blocks), mean_sum / len(blocks), axes).float()
