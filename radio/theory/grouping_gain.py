"""Grouping gain: bits per weight saved at equal distortion, against one depth for a whole matrix.

Reverse water-filling without clamps gives every group the same distortion D per weight. Group n
reaches D = s_n 2^(-2 B_n) at B_n = 1/2 log2(s_n / D). One depth B for all groups reaches D, on
average over the weights, where sum P_n s_n 2^(-2B) / sum P_n = D: at B = 1/2 log2(A / D), with A
the mean of s_n weighted by P_n. A group saves B - B_n = 1/2 log2(A / s_n) for any D, and the mean
saving is 1/2 log2(arithmetic mean / geometric mean) >= 0 (paper, section "Grouping").

A group of zero sensitivity would save infinitely many bits. The largest depth is 8 bits, so
2^(-2*8) A is added to every sensitivity and to A: a group of zero sensitivity then saves about 8
bits. log(s + constant) is still concave in s, so splitting groups further never lowers the gain.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from radio.theory.allocation import MAX_BITS

FLOOR = 2.0 ** (-2 * MAX_BITS)  # of the mean sensitivity


def savings_bits(
    sensitivity: Float[Tensor, "*groups"], numel: Int[Tensor, "*groups"]
) -> Float[Tensor, "*groups"]:
    """Return the bits per weight that each group saves against one depth for all groups.

    Negative for groups more sensitive than the mean.

    Args:
        sensitivity: s_n = G_n^2 S_n^2 >= 0.
        numel: P_n, weights in each group.

    Raises:
        ValueError: a sensitivity is negative or not finite, or all are zero.
    """
    if not torch.isfinite(sensitivity).all() or (sensitivity < 0).any():
        raise ValueError("sensitivity has negative or non-finite entries")
    if not (sensitivity > 0).any():
        raise ValueError("sensitivity is zero everywhere: no group is worth a bit")
    sensitivity, share = sensitivity.double(), numel.double() / numel.sum()
    relative = sensitivity / (share * sensitivity).sum()
    return -0.5 * torch.log2((relative + FLOOR) / (1 + FLOOR))


def grouping_gain_bits(
    sensitivity: Float[Tensor, "*groups"], numel: Int[Tensor, "*groups"]
) -> float:
    """Return the mean bits per weight saved: 1/2 log2(arithmetic mean / geometric mean of s_n).

    Arguments and errors are those of `savings_bits`.
    """
    return float((savings_bits(sensitivity, numel) * numel.double()).sum() / numel.sum())
