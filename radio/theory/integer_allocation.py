"""Exact integer allocation: depths of least distortion for any table of distortions by depth.

minimise  sum_n P_n d_n(B_n)   subject to   sum_n P_n B_n <= R sum_n P_n,  B_n in 0..8

A group's best next move is to the depth with the steepest fall of distortion per weight and bit;
from depth 0 these moves trace the lower convex hull of its curve. Taking the moves of all groups in
order of slope is optimal where the budget ends between two moves (Everett's theorem); elsewhere the
loss is at most the gain of the first move that does not fit.

A model of 7 billion weights has 27 million groups. Tables come in parts, one in memory at a time. A
sample estimates the slope at which the budget ends, and only segments near it are sorted. The
result equals that of sorting all segments.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from radio.theory.allocation import MAX_BITS, Allocation, mean_bits

# relative tolerance for the rounding of rate x weights, which should be a whole number of bits
BUDGET_ROUNDING = 1e-12
# sample size for the slope where the budget ends; exact if there are no more groups than this
SAMPLE_GROUPS = 2**18


# returns the table of a part [groups, depths]; called several times per part
TableOf = Callable[[int], Tensor]


class _Hulls(NamedTuple):
    """Vertices of each group's hull, from depth 0, and slopes of the segments between them.

    A hull with fewer vertices repeats its last vertex, with segments of slope 0.
    """

    vertices: Int[Tensor, "groups depths"]
    slopes: Float[Tensor, "groups segments"]


class _Part(NamedTuple):
    """Segments of one part's groups: the number steeper than a window, and those inside it."""

    vertices: UInt8[Tensor, "groups depths"]
    steeper: Int[Tensor, " groups"]
    steeper_cost: int
    least_steeper: float
    group: Int[Tensor, " inside"]
    slope: Float[Tensor, " inside"]
    cost: Int[Tensor, " inside"]


class _Move(NamedTuple):
    """A group's step to a larger depth: the fall of distortion per bit, and its cost in bits."""

    fall: float
    group: int
    depth: int
    cost: int


def model_distortion(sensitivity: Float[Tensor, " groups"]) -> Float[Tensor, "groups 9"]:
    """Return the table of high-resolution distortion per weight, s 4^-B at B = 0..8 (paper)."""
    return sensitivity.double()[:, None] * torch.exp2(-2.0 * torch.arange(MAX_BITS + 1))


def allocate_integer(
    table_of: TableOf, numel: Sequence[Int[Tensor, " _"]], rate_bits: float
) -> Allocation:
    """Return the depths of least sum_n P_n d_n(B_n) whose mean is at most `rate_bits`.

    Whole hull segments are taken by slope until the next one exceeds the budget. The remaining
    bits, fewer than one segment, go to the steepest moves that fit, on the hull or not.

    Args:
        table_of: d_n(B) of each part, a group's output distortion per weight at depth B = column
            index; finite and non-negative, not necessarily convex or decreasing.
        numel: P_n, weights in each group of each part.
        rate_bits: R, 0 < R <= 8.

    Returns:
        The depths, part after part, and their rate. The price is the slope of the last segment
        taken before one did not fit: the fall of distortion per weight for one more bit.

    Raises:
        ValueError: `rate_bits` is outside (0, 8], a distortion is negative or not finite, or no
            distortion falls with depth.
    """
    if not 0 < rate_bits <= MAX_BITS:
        raise ValueError(f"rate_bits={rate_bits} is outside (0, {MAX_BITS}]")
    weights = sum(int(each.sum()) for each in numel)
    budget = math.floor(rate_bits * float(weights) * (1 + BUDGET_ROUNDING))
    for low, high in _windows(table_of, numel, rate_bits):
        parts = [_split(table_of(i), sizes, low, high) for i, sizes in enumerate(numel)]
        left = budget - sum(part.steeper_cost for part in parts)
        slopes, order = torch.cat([part.slope for part in parts]).sort(descending=True, stable=True)
        costs = torch.cat([part.cost for part in parts])[order]
        if left >= 0 and (low == 0 or left < int(costs.sum())):
            break
    taken = int(torch.searchsorted(costs.cumsum(0), left, right=True))
    steepness = [*slopes[:taken][-1:].tolist(), min(part.least_steeper for part in parts)]
    steepness = [each for each in steepness if each < math.inf] or slopes[:1].tolist()
    if not steepness:
        raise ValueError("distortion falls nowhere: no group is worth a bit")
    chosen = torch.zeros(len(order), dtype=torch.bool)
    chosen[order[:taken]] = True
    inside = chosen.split([len(part.slope) for part in parts])
    depths = [_depths(*each) for each in zip(parts, inside, strict=True)]
    _spend(table_of, numel, depths, left - int(costs[:taken].sum()))
    found, sizes = torch.cat(depths), torch.cat(list(numel))
    return Allocation(found, mean_bits(found, sizes), math.log2(steepness[0]))


def _windows(
    table_of: TableOf, numel: Sequence[Tensor], rate_bits: float
) -> Iterator[tuple[float, float]]:
    """Yield windows of slopes in which the budget should end, estimated on a sample; each is wider.

    The first window is exact if the sample has all groups. The last window has every segment.
    """
    every = math.ceil(sum(len(each) for each in numel) / SAMPLE_GROUPS)
    found, weights = [], 0
    for i, sizes in enumerate(numel):
        hulls, some = _lower_hulls(table_of(i)[::every]), sizes[::every]
        rising = hulls.slopes > 0
        steps = hulls.vertices.diff(dim=1) * some[:, None]
        found.append(torch.stack([hulls.slopes[rising], steps[rising].double()]))
        weights += int(some.sum())
    slopes, costs = torch.cat(found, dim=1)
    slopes, order = slopes.sort(descending=True)
    budget = math.floor(rate_bits * float(weights) * (1 + BUDGET_ROUNDING))
    end = int(torch.searchsorted(costs[order].cumsum(0), float(budget), right=True))
    margin = 0 if every == 1 else math.ceil(2 * len(slopes) ** 0.5)
    while True:
        first, last = min(end - margin, len(slopes) - 1), end + margin
        yield (
            float(slopes[last]) if last < len(slopes) else 0.0,
            float(slopes[first]) if first >= 0 else math.inf,
        )
        margin = 8 * margin + 1


def _split(
    table: Float[Tensor, "groups depths"], numel: Int[Tensor, " groups"], low: float, high: float
) -> _Part:
    """Split a part's segments into those steeper than `high` and those from `low` to `high`."""
    hulls = _lower_hulls(table)
    costs = hulls.vertices.diff(dim=1) * numel[:, None]
    steeper = hulls.slopes > high
    inside = (hulls.slopes > 0) & (hulls.slopes >= low) & ~steeper
    return _Part(
        vertices=hulls.vertices.to(torch.uint8),
        steeper=steeper.sum(dim=1),
        steeper_cost=int(costs[steeper].sum()),
        least_steeper=float(hulls.slopes[steeper].min()) if steeper.any() else math.inf,
        group=inside.nonzero()[:, 0],
        slope=hulls.slopes[inside],
        cost=costs[inside],
    )


def _depths(part: _Part, chosen: Tensor) -> Int[Tensor, " groups"]:
    """Return depths after taking all steeper segments and the chosen ones inside the window."""
    more = torch.bincount(part.group[chosen], minlength=len(part.steeper))
    return part.vertices.gather(1, (part.steeper + more)[:, None])[:, 0].long()


def _lower_hulls(table: Float[Tensor, "groups depths"]) -> _Hulls:
    """Return the falling part of every curve's lower convex hull."""
    if not torch.isfinite(table).all() or (table < 0).any():
        raise ValueError("distortion has negative or non-finite entries")
    table = table.double()
    groups, depths = table.shape
    vertex = torch.zeros(groups, dtype=torch.int64)
    vertices, slopes = [vertex], []
    for _ in range(1, depths):
        slope, steepest = _falls(table, vertex).max(dim=1)
        slopes.append(slope.clamp(min=0))
        vertex = torch.where(slope > 0, steepest, vertex)
        vertices.append(vertex)
    # rounding may reverse collinear segments: cummin keeps each group's slopes in order
    return _Hulls(torch.stack(vertices, 1), torch.stack(slopes, 1).cummin(dim=1).values)


def _falls(
    table: Float[Tensor, "groups depths"], depths: Int[Tensor, " groups"]
) -> Float[Tensor, "groups depths"]:
    """Return the fall of distortion per bit from `depths` to larger depths; -inf for the others.

    Callers take the first of equal slopes: small moves fit where large ones do not.
    """
    bits = torch.arange(table.shape[1]) - depths[:, None]
    fall = table.gather(1, depths[:, None]) - table
    return torch.where(bits > 0, fall / bits.clamp(min=1), -torch.inf)


def _spend(
    table_of: TableOf, numel: Sequence[Tensor], depths: Sequence[Tensor], budget: int
) -> None:
    """Spend the remaining bits on the steepest moves that fit, until none fits.

    Overwrites `depths` of all parts.
    """
    if budget < min(int(each.min()) for each in numel):
        return  # less than one bit per weight of the smallest group

    def best_of(part: int) -> _Move | None:
        return _best_move(table_of(part), numel[part], depths[part], budget)

    moves = dict(enumerate(map(best_of, range(len(numel)))))
    while possible := {part: move for part, move in moves.items() if move}:
        best = max(possible, key=lambda part: possible[part].fall)
        depths[best][possible[best].group] = possible[best].depth
        budget -= possible[best].cost
        for part, move in possible.items():
            if part == best or move.cost > budget:
                moves[part] = best_of(part)


def _best_move(
    table: Float[Tensor, "groups depths"],
    numel: Int[Tensor, " groups"],
    depths: Int[Tensor, " groups"],
    budget: int,
) -> _Move | None:
    """Return the first of the steepest moves that fit, or None if there is none."""
    falls = _falls(table.double(), depths)
    costs = (torch.arange(table.shape[1]) - depths[:, None]) * numel[:, None]
    falls[costs > budget] = -torch.inf
    group, depth = divmod(int(falls.argmax()), table.shape[1])
    if falls[group, depth] <= 0:
        return None
    return _Move(float(falls[group, depth]), group, depth, int(costs[group, depth]))
