"""Exact integer allocation: depths of least distortion for any table of distortions by depth.

minimise  sum_n P_n d_n(B_n)   subject to   sum_n P_n B_n <= R sum_n P_n,  B_n in 0..8

A group's best next move is the depth to which its distortion per weight falls most steeply, per
bit; from depth 0 these moves trace the lower convex hull of its curve. Moves of all groups, taken
in the order of their slopes, are optimal wherever the budget ends between two of them (Everett's
theorem), and elsewhere within the gain of the first move that does not fit.
"""

import math
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from radio.theory.allocation import MAX_BITS, Allocation, mean_bits

# rate x weights is a whole number of bits up to the rounding of a product
BUDGET_ROUNDING = 1e-12


class _Hulls(NamedTuple):
    """Vertices of each group's hull, from depth 0 on, and slopes of the segments between them.

    A hull of fewer vertices repeats its last one, with segments of slope 0.
    """

    vertices: Int[Tensor, "groups depths"]
    slopes: Float[Tensor, "groups segments"]


def model_distortion(sensitivity: Float[Tensor, " groups"]) -> Float[Tensor, "groups 9"]:
    """High-resolution distortion per weight s 4^-B at B = 0..8 (paper), as a table."""
    return sensitivity.double()[:, None] * torch.exp2(-2.0 * torch.arange(MAX_BITS + 1))


def allocate_integer(
    distortion: Float[Tensor, "groups depths"],
    numel: Int[Tensor, " groups"],
    rate_bits: float,
) -> Allocation:
    """Depths of least sum_n P_n d_n(B_n) whose mean is at most `rate_bits`.

    Whole hull segments are taken by slope while the budget holds. What is left of it, less than
    one segment, goes to the steepest moves that still fit, hull or not, until none does.

    Args:
        distortion: d_n(B), a group's output distortion per weight at depth B = column index;
            finite and non-negative, not necessarily convex, nor falling.
        numel: P_n, weights in each group.
        rate_bits: R, 0 < R <= 8.

    Returns:
        The depths and their rate; the price is the slope of the last segment that was taken
        before one did not fit, the fall of distortion per weight for one more bit.

    Raises:
        ValueError: `rate_bits` outside (0, 8], a negative or non-finite distortion, or a table
            that falls nowhere.
    """
    if not 0 < rate_bits <= MAX_BITS:
        raise ValueError(f"rate_bits={rate_bits} is outside (0, {MAX_BITS}]")
    if not torch.isfinite(distortion).all() or (distortion < 0).any():
        raise ValueError("distortion has negative or non-finite entries")
    hulls = _lower_hulls(distortion.double())
    group, segment = (hulls.slopes > 0).nonzero(as_tuple=True)
    if not len(group):
        raise ValueError("distortion falls nowhere: no group is worth a bit")
    slopes, order = hulls.slopes[group, segment].sort(descending=True, stable=True)
    costs = (hulls.vertices.diff(dim=1) * numel[:, None])[group, segment][order]
    budget = math.floor(rate_bits * float(numel.sum()) * (1 + BUDGET_ROUNDING))
    taken = int(torch.searchsorted(costs.cumsum(0), budget, right=True))
    segments = torch.bincount(group[order[:taken]], minlength=len(numel))
    depths = hulls.vertices.gather(1, segments[:, None])[:, 0]
    depths = _spend(distortion.double(), numel, depths, budget - int(costs[:taken].sum()))
    return Allocation(depths, mean_bits(depths, numel), math.log2(float(slopes[max(taken - 1, 0)])))


def _lower_hulls(table: Float[Tensor, "groups depths"]) -> _Hulls:
    """The falling part of every curve's lower convex hull."""
    groups, depths = table.shape
    vertex = torch.zeros(groups, dtype=torch.int64)
    vertices, slopes = [vertex], []
    for _ in range(1, depths):
        slope, steepest = _falls(table, vertex).max(dim=1)
        slopes.append(slope.clamp(min=0))
        vertex = torch.where(slope > 0, steepest, vertex)
        vertices.append(vertex)
    # segments on one line may come out in either order, by rounding: a group's stay in order
    return _Hulls(torch.stack(vertices, 1), torch.stack(slopes, 1).cummin(dim=1).values)


def _falls(
    table: Float[Tensor, "groups depths"], depths: Int[Tensor, " groups"]
) -> Float[Tensor, "groups depths"]:
    """Fall of distortion per bit from `depths` to every larger depth; -inf to the others.

    The first of equal slopes counts: small moves fit where large ones do not.
    """
    bits = torch.arange(table.shape[1]) - depths[:, None]
    fall = table.gather(1, depths[:, None]) - table
    return torch.where(bits > 0, fall / bits.clamp(min=1), -torch.inf)


def _spend(
    table: Float[Tensor, "groups depths"],
    numel: Int[Tensor, " groups"],
    depths: Int[Tensor, " groups"],
    budget: int,
) -> Int[Tensor, " groups"]:
    """Spend the bits that are left on the steepest moves that fit, until none does."""
    depths = depths.clone()
    falls = _falls(table, depths)
    costs = (torch.arange(table.shape[1]) - depths[:, None]) * numel[:, None]
    while True:
        falls[costs > budget] = -torch.inf
        group, depth = divmod(int(falls.argmax()), table.shape[1])
        if falls[group, depth] <= 0:
            return depths
        budget -= int(costs[group, depth])
        depths[group] = depth
        falls[group] = _falls(table[group, None], depths[group, None])[0]
        costs[group] = (torch.arange(table.shape[1]) - depth) * numel[group]
