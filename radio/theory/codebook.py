"""Scalar codebooks: reconstruction levels, and the thresholds between their cells.

Both are in units of a group's scale, about its location. A codebook of depth B has 2^B levels and
2^B - 1 thresholds; depth 0 has the single level 0, which decodes a weight to its group's location.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float, Float16, Int
from torch import Tensor

from radio.theory.allocation import MAX_BITS
from radio.theory.companding import expand

# Half the range of the uniform levels. Scale factors of 2^[-2, 2] about the root mean square reach
# ranges of 0.75 to 12; the best is 1.4 (Laplace, 1 bit) to 7.0 (Laplace, 8 bits), and 1.6 to 3.9
# for Gaussian weights. All levels are exact in float16.
UNIFORM_RANGE = 3.0
# bins of the histogram whose cube root gives the initial levels of Lloyd-Max
START_BINS = 4096
# Lloyd-Max stops when a round lowers the error by less than this fraction
LLOYD_TOL = 1e-7
LLOYD_MAX_ROUNDS = 1000


# levels of depths 0..8, each in units of a group's scale
Codebooks = tuple[Float[Tensor, " _"], ...]


class Codebook(NamedTuple):
    """Levels in ascending order, and the thresholds between their cells."""

    levels: Float[Tensor, " levels"]
    thresholds: Float[Tensor, " thresholds"]


def companded(bits: int) -> Codebook:
    """Return 2^bits equal cells of the companded weight, each decoded at its midpoint (paper)."""
    middles = (torch.arange(2**bits, dtype=torch.float64) + 0.5) / 2**bits
    edges = torch.arange(1, 2**bits, dtype=torch.float64) / 2**bits
    return Codebook(expand(middles).float(), expand(edges).float())


def uniform(bits: int) -> Codebook:
    """Return 2^bits equal cells over [-3, 3], each decoded at its midpoint (midrise)."""
    middles = UNIFORM_RANGE * (2 * torch.arange(2**bits) + 1 - 2**bits) / 2**bits
    return nearest(middles.float())


def nearest(levels: Float[Tensor, " levels"]) -> Codebook:
    """Return the codebook that maps a weight to the nearest of `levels`, in ascending order."""
    return Codebook(levels, (levels[1:] + levels[:-1]) / 2)


def encode(
    weight: Float[Tensor, "groups numel"],
    location: Float[Tensor, " groups"],
    scale: Float[Tensor, " groups"],
    codebook: Codebook,
) -> Int[Tensor, "groups numel"]:
    """Return each weight's cell index. A group of scale 0 decodes to its location for any code."""
    spread = torch.where(scale > 0, scale, torch.ones_like(scale))
    return torch.bucketize((weight - location[:, None]) / spread[:, None], codebook.thresholds)


def decode(
    codes: Int[Tensor, "groups numel"],
    location: Float[Tensor, " groups"],
    scale: Float[Tensor, " groups"],
    codebook: Codebook,
) -> Float[Tensor, "groups numel"]:
    """Return the reconstruction of every weight, location + scale x level."""
    return location[:, None] + scale[:, None] * codebook.levels[codes]


def lloyd_max(
    samples: Float[Tensor, " samples"],
    bits: int,
    weights: Float[Tensor, " samples"] | None = None,
) -> Codebook:
    """Return the levels of least squared error on a sample: centroids of nearest-level cells.

    Lloyd's alternation: thresholds move to midpoints of levels, levels to centroids of cells. The
    error falls in every round. Initial levels come from the sample's own compander: their density
    is proportional to the cube root of a histogram. A cell that becomes empty keeps its level.

    Args:
        samples: any finite values, at least one.
        bits: B, for 2^B levels.
        weights: weights of the samples' squared errors, >= 0; None for equal weights.
    """
    ordered, order = samples.double().sort()
    weights = torch.ones_like(ordered) if weights is None else weights.double()[order]
    mass = torch.nn.functional.pad(weights.cumsum(0), (1, 0))
    moment = torch.nn.functional.pad((weights * ordered).cumsum(0), (1, 0))
    energy = (weights * ordered.square()).sum()
    levels = _cube_root_levels(ordered, mass, bits)
    last_error = torch.inf
    for _ in range(LLOYD_MAX_ROUNDS):
        inner = torch.searchsorted(ordered, (levels[1:] + levels[:-1]) / 2)
        cut = torch.nn.functional.pad(inner, (1, 1))
        cut[-1] = len(ordered)
        cell_mass, cell_moment = mass[cut].diff(), moment[cut].diff()
        levels = torch.where(cell_mass > 0, cell_moment / cell_mass, levels)
        error = float(energy - (cell_moment * levels).sum())  # of centroids
        if last_error - error <= LLOYD_TOL * error:
            break
        last_error = error
    return nearest(levels.float())


def _cube_root_levels(
    ordered: Float[Tensor, " samples"], mass: Float[Tensor, " edges"], bits: int
) -> Float[Tensor, " levels"]:
    """Return levels whose density is the normalised cube root of the sample's (Panter and Dite).

    `mass` holds prefix sums of the samples' weights. Each level lies in a nonempty bin.
    """
    low, high = float(ordered[0]), float(ordered[-1])
    if low == high:
        return ordered[:1].expand(2**bits).clone()
    # explicit device: while transformers loads a model, torch ignores the default device here
    edges = torch.linspace(low, high, START_BINS + 1, dtype=torch.float64, device=ordered.device)
    below = mass[torch.searchsorted(ordered, edges)]
    below[-1] = mass[-1]
    share = torch.nn.functional.pad(below.diff().pow(1 / 3).cumsum(0), (1, 0))
    wanted = (torch.arange(2**bits, dtype=torch.float64) + 0.5) / 2**bits * share[-1]
    index = torch.searchsorted(share, wanted) - 1
    within = (wanted - share[index]) / (share[index + 1] - share[index])
    return edges[index] + within * (edges[1] - edges[0])


def join(levels: Sequence[Float[Tensor, " _"]]) -> Float16[Tensor, " 510"]:
    """Return the levels of depths 1..8 as one table; the single level of depth 0 is always 0."""
    return torch.cat([depth.half() for depth in levels[1:]])


def split(table: Float16[Tensor, " 510"]) -> tuple[Float[Tensor, " _"], ...]:
    """Return the levels of depths 0..8; inverse of `join`."""
    sizes = [2**bits for bits in range(1, MAX_BITS + 1)]
    return torch.zeros(1), *table.float().split(sizes)
