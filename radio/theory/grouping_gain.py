"""What grouping saves: bits a weight at equal distortion, against one depth for a whole matrix.

Reverse water-filling without clamps gives every group the same distortion D a weight. Group n
reaches D = s_n 2^(-2 B_n) at B_n = 1/2 log2(s_n / D); one depth B for all reaches it, on average
over the weights, at sum P_n s_n 2^(-2B) / sum P_n = D, so at B = 1/2 log2(A / D) with A the mean
of s_n weighted by P_n. A group's saving is B - B_n = 1/2 log2(A / s_n), whatever D is, and the
mean saving is 1/2 log2(arithmetic mean / geometric mean) >= 0 (paper, section "Grouping").

A group without any sensitivity would save infinitely many bits. Depths end at 8 bits, so every
sensitivity is taken as s_n + 2^(-2*8) A, and A alike: what counts for nothing then saves 8 bits
and no more. Since log(s + constant) is still concave in s, splitting groups further still never
lowers the gain.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from radio.theory.allocation import MAX_BITS

FLOOR = 2.0 ** (-2 * MAX_BITS)  # of the mean sensitivity


def savings_bits(
    sensitivity: Float[Tensor, "*groups"], numel: Int[Tensor, "*groups"]
) -> Float[Tensor, "*groups"]:
    """Bits a weight that each group needs less than one depth for all, at equal distortion.

    Negative for groups more sensitive than the mean.

    Args:
        sensitivity: s_n = G_n^2 S_n^2 >= 0.
        numel: P_n, weights in each group.

    Raises:
        ValueError: a negative or non-finite sensitivity, or none that is positive.
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
    """Mean bits a weight saved: 1/2 log2(arithmetic mean / geometric mean of s_n).

    Arguments and errors are those of `savings_bits`.
    """
    return float((savings_bits(sensitivity, numel) * numel.double()).sum() / numel.sum())
