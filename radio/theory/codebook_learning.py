"""Codebooks learned from groups of weights: Lloyd-Max on all groups, normalised one by one.

The error of a group is scale^2 times that of its normalised weights (w - location) / scale.
Lloyd-Max levels of the pooled normalised weights, weighted by scale^2, therefore minimise the error
of the weights. Rounds alternate between fitting each group's (location, scale) and the levels.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from radio.theory.allocation import MAX_BITS
from radio.theory.codebook import Codebook, lloyd_max
from radio.theory.scale_fit import Lines, least_squares

# rounds of fitting groups to levels and levels to groups, after the initial levels
ROUNDS = 3

# groups of equal size
Groups = Float[Tensor, "_groups _numel"]


def learn_codebooks(batches: Sequence[Groups]) -> tuple[Float[Tensor, " _"], ...]:
    """Return the levels of depths 0..8, rounded to float16; batches may differ in group size.

    Raises:
        ValueError: no group has two different weights.
    """
    if not any((batch != batch[:, :1]).any() for batch in batches):
        raise ValueError("no group has weights that differ")
    learned = [learn_levels(batches, bits).levels.half().float() for bits in range(1, MAX_BITS + 1)]
    return torch.zeros(1), *learned


def learn_levels(batches: Sequence[Groups], bits: int) -> Codebook:
    """Return the levels of one depth, not rounded; see `learn_codebooks`."""
    moments = [_moments(batch) for batch in batches]
    codebook = lloyd_max(*_pooled(batches, moments, bits))
    for _ in range(ROUNDS):
        pairs = zip(batches, moments, strict=True)
        lines = [least_squares(batch, *moment, codebook) for batch, moment in pairs]
        codebook = lloyd_max(*_pooled(batches, lines, bits))
    return codebook


def _pooled(
    batches: Sequence[Groups], lines: Sequence[tuple[Tensor, Tensor]], bits: int
) -> tuple[Float[Tensor, " samples"], int, Float[Tensor, " samples"]]:
    """Return the arguments of `lloyd_max`: samples of nonconstant groups, bits, sample weights."""
    samples, weights = [], []
    for batch, (location, scale) in zip(batches, lines, strict=True):
        varies = scale > 0
        weight, scale = batch[varies], scale[varies, None]
        samples.append(((weight - location[varies, None]) / scale).flatten())
        weights.append(scale.square().expand_as(weight).flatten())
    return torch.cat(samples), bits, torch.cat(weights)


def _moments(weight: Float[Tensor, "groups numel"]) -> Lines:
    """Return each group's median, and the root mean square about it."""
    location = weight.median(dim=1).values
    return location, (weight - location[:, None]).square().mean(dim=1).sqrt()
