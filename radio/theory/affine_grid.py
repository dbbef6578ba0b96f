"""Affine grids: a scale and an integer zero point for each run of weights, w_q = s (code - zero).

The rules are those of the GPTQ and OWQ repositories' `Quantizer`: the range always contains 0, and
0 is a level. A symmetric grid (GPTQ's) has its zero point at 2^(B-1), which needs no storing.

Clipping gives up the extremes of a run for a finer step. Both repositories try shrunken ranges and
keep the best in the norm 2.4 of the errors; here it is the squared error, which is what the output
error sees on average and what is exact from prefix sums of the sorted run, so that every zero point
can be tried with every step, as in OWQ's.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float, Float16, UInt8
from torch import Tensor

# steps tried, as shares of the one that spans the whole range
CLIP_STEPS = 50
# the smallest number above 0 in float16
LEAST_SCALE = 2.0**-24
# prefix sums of that many candidates are held in memory at once
CLIP_CHUNK = 2**21


class Grid(NamedTuple):
    """The levels of each run, as they are stored."""

    scale: Float16[Tensor, " runs"]
    zero: UInt8[Tensor, " runs"]


def min_max_grid(
    weight: Float[Tensor, "runs numel"], bits: int, *, symmetric: bool = False
) -> Grid:
    """Grids from the smallest to the largest weight of each run, or as far on either side of 0."""
    low, high = _range(weight, symmetric)
    scale = _stored((high - low) / (2**bits - 1))
    if symmetric:
        return Grid(scale, torch.full_like(scale, 2 ** (bits - 1), dtype=torch.uint8))
    zero = torch.round(-low / scale.float()).clamp(0, 2**bits - 1).to(torch.uint8)
    return Grid(scale, zero)


def clipped_grid(
    weight: Float[Tensor, "runs numel"], bits: int, *, symmetric: bool = False
) -> Grid:
    """Grids of least squared error, over `CLIP_STEPS` steps and, unless symmetric, all zero points.

    Never worse than `min_max_grid`, whose grid is among those tried.
    """
    chunk = max(1, CLIP_CHUNK // (CLIP_STEPS * 2 ** (bits + 1)))
    grids = [_clipped(runs, bits, symmetric) for runs in weight.split(chunk)]
    return Grid(*(torch.cat(parts) for parts in zip(*grids, strict=True)))


def encode(
    weight: Float[Tensor, "runs numel"], grid: Grid, bits: int
) -> UInt8[Tensor, "runs numel"]:
    """Codes of the nearest levels."""
    codes = torch.round(weight / grid.scale.float()[:, None]) + grid.zero.float()[:, None]
    return codes.clamp(0, 2**bits - 1).to(torch.uint8)


def decode(codes: UInt8[Tensor, "runs numel"], grid: Grid) -> Float[Tensor, "runs numel"]:
    """The weights that codes stand for."""
    return (codes.float() - grid.zero.float()[:, None]) * grid.scale.float()[:, None]


def _range(weight: Tensor, symmetric: bool) -> tuple[Tensor, Tensor]:
    """Ends of each run's range; those of a run of zeros are -1 and 1."""
    low, high = weight.amin(dim=1).clamp(max=0), weight.amax(dim=1).clamp(min=0)
    if symmetric:
        high = torch.maximum(-low, high)
        low = -high
    flat = (low == 0) & (high == 0)
    return torch.where(flat, -1.0, low), torch.where(flat, 1.0, high)


def _stored(scale: Tensor) -> Tensor:
    """Scales in float16."""
    # a range too narrow for float16 would have scale 0
    return scale.half().clamp(min=LEAST_SCALE)


def _clipped(weight: Tensor, bits: int, symmetric: bool) -> Grid:
    """`clipped_grid` of runs that fit in memory together."""
    top, whole = 2**bits - 1, min_max_grid(weight, bits, symmetric=symmetric)
    low, high = _range(weight, symmetric)
    shares = torch.arange(1, CLIP_STEPS + 1) / CLIP_STEPS
    scale = _stored(((high - low) / top)[:, None] * shares)
    zero = whole.zero.long()[:1] if symmetric else torch.arange(top + 1)
    error = _squared_errors(weight, scale.double(), zero, top).flatten(1)
    best = error.argmin(dim=1, keepdim=True)
    chosen = scale.gather(1, best // len(zero))[:, 0]
    return Grid(chosen, zero[best[:, 0] % len(zero)].to(torch.uint8))


def _squared_errors(weight: Tensor, scale: Tensor, zero: Tensor, top: int) -> Tensor:
    """Errors [runs, scales, zeros] of all scales [runs, scales] with all zero points [zeros].

    Up to a constant of the run. A weight takes the level s t, t = -zero..top - zero, that is
    nearest. Cells of neighbouring t are summed up once a scale; those outside count as the last.
    """
    ordered = weight.contiguous().sort(dim=1).values
    sums = torch.nn.functional.pad(ordered.double().cumsum(dim=1), (1, 0))
    level = torch.arange(-top, top + 1, dtype=torch.float64) * scale[..., None]
    # between one level and the next, so that there is one edge fewer than there are levels
    edges = ((level[..., 1:] + level[..., :-1]) / 2).float()
    count = torch.searchsorted(ordered, edges.flatten(1)).view_as(edges)
    total = sums.gather(1, count.flatten(1)).view_as(edges)
    # a start and an end, so that entry k speaks of the weights below cell k
    count = torch.nn.functional.pad(count.double(), (1, 1))
    total = torch.nn.functional.pad(total, (1, 1))
    count[..., -1], total[..., -1] = weight.shape[1], sums[:, -1:]
    cells = count.diff(dim=2) * level.square() - 2 * level * total.diff(dim=2)
    error = torch.nn.functional.pad(cells.cumsum(dim=2), (1, 0))

    first, last = top - zero, 2 * top - zero
    inside = error[..., last + 1] - error[..., first]
    below = (
        count[..., first] * level[..., first].square() - 2 * level[..., first] * total[..., first]
    )
    above = count[..., -1:] - count[..., last + 1], total[..., -1:] - total[..., last + 1]
    return inside + below + above[0] * level[..., last].square() - 2 * level[..., last] * above[1]
