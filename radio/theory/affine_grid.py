"""Affine grids: a scale and an integer zero point for each run of weights, w_q = s (code - zero).

The rules follow `Quantizer` in the GPTQ and OWQ repositories: the range always contains 0, and 0 is
a level. A symmetric grid (as in GPTQ) has its zero point at 2^(B-1), which is not stored.

Clipping trades the extremes of a run for a finer step. Both repositories try shrunken ranges and
keep the best by the 2.4-norm of the errors. This module minimizes the squared error: it determines
the output error on average, and prefix sums of the sorted run give it exactly, so that every zero
point can be tried with every step, as in OWQ.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float, Float16, UInt8
from torch import Tensor

# number of steps tried, as fractions of the step that spans the whole range
CLIP_STEPS = 50
# the smallest positive (subnormal) float16 number
LEAST_SCALE = 2.0**-24
# number of candidates whose prefix sums are in memory at once
CLIP_CHUNK = 2**21


class Grid(NamedTuple):
    """Scale and zero point of each run, as stored."""

    scale: Float16[Tensor, " runs"]
    zero: UInt8[Tensor, " runs"]


def min_max_grid(
    weight: Float[Tensor, "runs numel"], bits: int, *, symmetric: bool = False
) -> Grid:
    """Return grids over each run's range (extended to 0), or over [-max |w|, max |w|]."""
    low, high = _range(weight, symmetric)
    scale = _stored((high - low) / (2**bits - 1))
    if symmetric:
        return Grid(scale, torch.full_like(scale, 2 ** (bits - 1), dtype=torch.uint8))
    zero = torch.round(-low / scale.float()).clamp(0, 2**bits - 1).to(torch.uint8)
    return Grid(scale, zero)


def clipped_grid(
    weight: Float[Tensor, "runs numel"], bits: int, *, symmetric: bool = False
) -> Grid:
    """Return grids of least squared error, over `CLIP_STEPS` steps and all zero points.

    A symmetric grid keeps its zero point. The result is never worse than `min_max_grid`, whose grid
    is one of the candidates.
    """
    chunk = max(1, CLIP_CHUNK // (CLIP_STEPS * 2 ** (bits + 1)))
    grids = [_clipped(runs, bits, symmetric) for runs in weight.split(chunk)]
    return Grid(*(torch.cat(parts) for parts in zip(*grids, strict=True)))


def encode(
    weight: Float[Tensor, "runs numel"], grid: Grid, bits: int
) -> UInt8[Tensor, "runs numel"]:
    """Return the codes of the nearest levels."""
    codes = torch.round(weight / grid.scale.float()[:, None]) + grid.zero.float()[:, None]
    return codes.clamp(0, 2**bits - 1).to(torch.uint8)


def decode(codes: UInt8[Tensor, "runs numel"], grid: Grid) -> Float[Tensor, "runs numel"]:
    """Return the dequantized weights."""
    return (codes.float() - grid.zero.float()[:, None]) * grid.scale.float()[:, None]


def _range(weight: Tensor, symmetric: bool) -> tuple[Tensor, Tensor]:
    """Return the ends of each run's range; -1 and 1 for a run of zeros."""
    low, high = weight.amin(dim=1).clamp(max=0), weight.amax(dim=1).clamp(min=0)
    if symmetric:
        high = torch.maximum(-low, high)
        low = -high
    flat = (low == 0) & (high == 0)
    return torch.where(flat, -1.0, low), torch.where(flat, 1.0, high)


def _stored(scale: Tensor) -> Tensor:
    """Return scales in float16."""
    # a range too narrow for float16 would round to scale 0
    return scale.half().clamp(min=LEAST_SCALE)


def _clipped(weight: Tensor, bits: int, symmetric: bool) -> Grid:
    """Return `clipped_grid` of runs whose candidates fit in memory at once."""
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
    """Return errors [runs, scales, zeros] of all scales [runs, scales] and zero points [zeros].

    Errors omit a constant per run. A weight takes the nearest level s t, t = -zero..top - zero.
    Cells of consecutive t are summed once per scale; weights beyond the ends take the end levels.
    """
    ordered = weight.contiguous().sort(dim=1).values
    sums = torch.nn.functional.pad(ordered.double().cumsum(dim=1), (1, 0))
    level = torch.arange(-top, top + 1, dtype=torch.float64) * scale[..., None]
    # midpoints of neighbouring levels: one fewer than the levels
    edges = ((level[..., 1:] + level[..., :-1]) / 2).float()
    count = torch.searchsorted(ordered, edges.flatten(1)).view_as(edges)
    total = sums.gather(1, count.flatten(1)).view_as(edges)
    # pad both ends, so that entry k covers the weights below cell k
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
