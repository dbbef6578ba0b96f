"""The companded scalar quantizer: fine cells where a Laplace density is high, coarse in the tails.

A weight w is companded to u = 1/2 [1 + sgn(w - mu)(1 - exp(-sqrt2 |w - mu| / (3 S)))], the
normalised integral of the cube root of a Laplace density of location mu and standard deviation S
(paper). u is cut into 2^B equal cells and decoded at a cell's middle. Since the map is monotone,
all of it is two tables in units of S: 2^B - 1 thresholds and 2^B levels.
"""

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor

# scale parameter of the companding Laplace CDF, in units of the standard deviation
CDF_SCALE = 3 / math.sqrt(2)
# log2 of the scale factors tried, and shifts of the location in units of the scale (author's code)
SEARCH_GRID = torch.arange(-16, 17) / 8


def compand(w: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Map weights at location 0 and scale 1 to u in (0, 1)."""
    return 0.5 * (1 - torch.sign(w) * torch.expm1(-w.abs() / CDF_SCALE))


def expand(u: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Inverse of `compand`."""
    centred = 2 * u - 1
    return -torch.sign(centred) * CDF_SCALE * torch.log1p(-centred.abs())


def levels(bits: int) -> Float[Tensor, " levels"]:
    """The 2^bits reconstruction points, in units of the scale; a single 0 at depth 0."""
    return expand((torch.arange(2**bits, dtype=torch.float64) + 0.5) / 2**bits).float()


def thresholds(bits: int) -> Float[Tensor, " thresholds"]:
    """The 2^bits - 1 boundaries between cells, in units of the scale."""
    return expand(torch.arange(1, 2**bits, dtype=torch.float64) / 2**bits).float()


def encode(
    weight: Float[Tensor, "groups numel"],
    location: Float[Tensor, " groups"],
    scale: Float[Tensor, " groups"],
    bits: int,
) -> Int[Tensor, "groups numel"]:
    """Cell index of every weight. A group of scale 0 lies on its location, whatever its codes."""
    spread = torch.where(scale > 0, scale, torch.ones_like(scale))
    return torch.bucketize((weight - location[:, None]) / spread[:, None], thresholds(bits))


def decode(
    codes: Int[Tensor, "groups numel"],
    location: Float[Tensor, " groups"],
    scale: Float[Tensor, " groups"],
    bits: int,
) -> Float[Tensor, "groups numel"]:
    """Reconstruction of every weight, location + scale x level."""
    return location[:, None] + scale[:, None] * levels(bits)[codes]


def search(
    weight: Float[Tensor, "groups numel"],
    location: Float[Tensor, " groups"],
    scale: Float[Tensor, " groups"],
    bits: int,
) -> tuple[Float[Tensor, " groups"], Float[Tensor, " groups"]]:
    """Scale, then location, of least squared error on coarse grids (author's code).

    Candidates are rounded to float16 first, as they are stored, so that what is chosen is what
    is decoded. The error of a candidate is exact but costs no pass over the weights: with a
    group's weights sorted once, each cell's count and sum are differences of prefix sums.

    Returns:
        (location, scale), both exactly representable in float16.
    """
    ordered = weight.sort(dim=1).values
    sums = torch.nn.functional.pad(ordered.double().cumsum(dim=1), (1, 0))
    location = location.half().float()
    factors = torch.exp2(SEARCH_GRID)
    scale = _best(ordered, sums, location[:, None], (scale[:, None] * factors), bits)[1]
    shifts = location[:, None] + scale[:, None] * SEARCH_GRID
    return _best(ordered, sums, shifts, scale[:, None], bits)


def _best(
    ordered: Float[Tensor, "groups numel"],
    sums: Tensor,
    location: Tensor,
    scale: Tensor,
    bits: int,
) -> tuple[Float[Tensor, " groups"], Float[Tensor, " groups"]]:
    """The candidate of least squared error, for [groups, candidates] that broadcast together.

    sum (w - r)^2 over a cell of n weights that sum to s is const + n r^2 - 2 r s.
    """
    location, scale = torch.broadcast_tensors(location.half().float(), scale.half().float())
    groups, candidates = scale.shape
    cut = ordered.new_zeros(groups, candidates, 2**bits + 1, dtype=torch.int64)
    cut[..., -1] = ordered.shape[1]
    if bits:
        edges = location[..., None] + scale[..., None] * thresholds(bits)
        cut[..., 1:-1] = torch.searchsorted(ordered, edges.flatten(1)).view_as(edges)
    cell_sum = sums.gather(1, cut.flatten(1)).view_as(cut).diff(dim=2)
    level = (location[..., None] + scale[..., None] * levels(bits)).double()
    error = (cut.diff(dim=2) * level.square() - 2 * level * cell_sum).sum(dim=2)
    choice = error.argmin(dim=1, keepdim=True)
    return location.gather(1, choice)[:, 0], scale.gather(1, choice)[:, 0]
