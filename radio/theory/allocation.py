"""Rate-distortion bit allocation: the depth of each weight group.

minimise  sum_n P_n s_n 2^(-2 B_n)   subject to   sum_n P_n B_n = R sum_n P_n,  0 <= B_n <= 8
"""

import math
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

MAX_BITS = 8
# Newton's step for unclamped depths is 2 (each depth falls by half a bit when log2 V rises by one);
# the author's code uses 1.9, which damps the oscillation caused by rounding
ASCENT_STEP = 1.9
FIRST_LOG2_PRICE = -30.0
# smaller differences in price are below the accuracy of the statistics
LOG2_PRICE_RESOLUTION = 1e-9


class Allocation(NamedTuple):
    """Integer depths [groups], their rate in bits per weight, and log2 of the price V."""

    depths: Int[Tensor, " groups"]
    rate_bits: float
    log2_price: float


def depths_at_price(
    sensitivity: Float[Tensor, " groups"], log2_price: float, max_bits: int = MAX_BITS
) -> Float[Tensor, " groups"]:
    """Return the real-valued depths that minimise distortion + price x rate for each group.

    d/dB [s 2^(-2B) + V B] = 0 gives B = 1/2 log2(2 ln2 s / V), clamped to [0, max_bits] (paper).
    """
    return (0.5 * (torch.log2(2 * math.log(2) * sensitivity) - log2_price)).clamp(0, max_bits)


def mean_bits(depths: Tensor, numel: Int[Tensor, " groups"]) -> float:
    """Return mean bits per weight of `depths` [groups] over groups of `numel` weights."""
    return float((depths.double() * numel.double()).sum() / numel.double().sum())


def distortion(
    sensitivity: Float[Tensor, " groups"],
    numel: Int[Tensor, " groups"],
    depths: Tensor,
) -> float:
    """Return the output distortion sum_n P_n s_n 2^(-2 B_n) (high rate, without the constant H)."""
    return float((numel * sensitivity.double() * torch.exp2(-2.0 * depths.double())).sum())


def allocate_bits(
    sensitivity: Float[Tensor, " groups"],
    numel: Int[Tensor, " groups"],
    rate_bits: float,
    *,
    tol_bits: float = 1e-4,
) -> Allocation:
    """Return integer depths of least distortion whose mean is `rate_bits`, by dual ascent.

    The ascent follows the author's code: in log2 V, on the residual of the *rounded* depths,
    log2 V += 1.9 (mean rounded bits - R), from -30 (paper: linear in V, real depths). The rate
    falls with the price, so a step outside the bracket of R is replaced by a bisection. If there
    are so few groups that no price comes within `tol_bits` of R, the result is the best price
    visited, with the rate that it reaches.

    Args:
        sensitivity: s_n = G_n^2 S_n^2 >= 0; a group with s_n = 0 gets depth 0.
        numel: P_n, weights in each group.
        rate_bits: R, 0 < R <= 8.
        tol_bits: rate residual at which to stop.

    Raises:
        ValueError: `rate_bits` is outside (0, 8], a sensitivity is negative or not finite, or all
            are zero.
    """
    if not 0 < rate_bits <= MAX_BITS:
        raise ValueError(f"rate_bits={rate_bits} is outside (0, {MAX_BITS}]")
    if not torch.isfinite(sensitivity).all() or (sensitivity < 0).any():
        raise ValueError("sensitivity has negative or non-finite entries")
    if not (sensitivity > 0).any():
        raise ValueError("sensitivity is zero everywhere: no group is worth a bit")
    sensitivity = sensitivity.double()
    # below `low` every group with s_n > 0 has 8 bits, above `high` every group has 0
    slopes = torch.log2(2 * math.log(2) * sensitivity[sensitivity > 0])
    low, high = float(slopes.min()) - 2 * MAX_BITS, float(slopes.max())
    log2_price = min(max(FIRST_LOG2_PRICE, low), high)
    best: Allocation | None = None
    while True:
        depths = depths_at_price(sensitivity, log2_price).round().to(torch.int64)
        reached = Allocation(depths, mean_bits(depths, numel), log2_price)
        residual_bits = reached.rate_bits - rate_bits
        if best is None or abs(residual_bits) < abs(best.rate_bits - rate_bits):
            best = reached
        low, high = (log2_price, high) if residual_bits > 0 else (low, log2_price)
        if abs(residual_bits) <= tol_bits or high - low < LOG2_PRICE_RESOLUTION:
            return best
        log2_price += ASCENT_STEP * residual_bits
        if not low < log2_price < high:
            log2_price = (low + high) / 2
