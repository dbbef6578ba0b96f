"""Location and scale of each group for a codebook: four fits.

A fit takes the groups, their moments (location: median, scale: root mean square about it) and a
codebook, and returns (location, scale), both as stored (radio/theory/scale_codec.py). Candidates
are rounded before they are compared, so that the chosen line is the decoded line.

The error of a candidate is exact without a pass over the weights: with a group's weights sorted
once, each cell's count and sum are differences of prefix sums, and sum (w - r)^2 over a cell of n
weights with sum s is const + n r^2 - 2 r s.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from radio.theory.codebook import Codebook
from radio.theory.order import in_order
from radio.theory.scale_codec import Lines, Store, in_float16

# log2 of the scale factors tried, and shifts of the location in units of the scale (author's code)
SEARCH_GRID = torch.arange(-16, 17) / 8
LEAST_SQUARES_ROUNDS = 8

Fit = Callable[
    [
        Float[Tensor, "groups numel"],
        Float[Tensor, " groups"],
        Float[Tensor, " groups"],
        Codebook,
        Store,
    ],
    Lines,
]


def value_range(
    weight: Float[Tensor, "groups numel"],
    location: Float[Tensor, " groups"],
    scale: Float[Tensor, " groups"],
    codebook: Codebook,
    store: Store = in_float16,
) -> Lines:
    """Place the outermost levels at a group's extremes (as in RTN); at depth 0 use the midpoint."""
    low, high = weight.amin(dim=1), weight.amax(dim=1)
    first, last = codebook.levels[0], codebook.levels[-1]
    width = last - first if len(codebook.levels) > 1 else torch.inf
    scale = store((low + high) / 2, (high - low) / width)[1]
    return store((low + high - scale * (first + last)) / 2, scale)


def moments(
    weight: Float[Tensor, "groups numel"],
    location: Float[Tensor, " groups"],
    scale: Float[Tensor, " groups"],
    codebook: Codebook,
    store: Store = in_float16,
) -> Lines:
    """Return the moments, as stored."""
    return store(location, scale)


def search(
    weight: Float[Tensor, "groups numel"],
    location: Float[Tensor, " groups"],
    scale: Float[Tensor, " groups"],
    codebook: Codebook,
    store: Store = in_float16,
) -> Lines:
    """Choose first scale, then location, of least squared error on coarse grids (author's code)."""
    return _searched(_Sorted.of(weight), location, scale, codebook, store)


def least_squares(
    weight: Float[Tensor, "groups numel"],
    location: Float[Tensor, " groups"],
    scale: Float[Tensor, " groups"],
    codebook: Codebook,
    store: Store = in_float16,
) -> Lines:
    """Start from the better of search and range; alternate between refitting lines and codes.

    A group keeps its line in rounds that do not lower its error. Coarser starts end in worse
    minima; the range is the best start for many uniform levels and few weights. At depth 0 the
    location becomes the mean.
    """
    groups = _Sorted.of(weight)
    starts = (
        _searched(groups, location, scale, codebook, store),
        value_range(weight, location, scale, codebook, store),
    )
    locations, scales = (torch.stack(lines, dim=1) for lines in zip(*starts, strict=True))
    location, scale = _best(groups, locations, scales, codebook, store)
    count, total = _cells(groups, location[:, None], scale[:, None], codebook)
    error = _error(count, total, location[:, None], scale[:, None], codebook)
    for _ in range(LEAST_SQUARES_ROUNDS):
        line = _line(count[:, 0], total[:, 0], codebook.levels)
        new_location, new_scale = (value[:, None] for value in store(*line))
        new_count, new_total = _cells(groups, new_location, new_scale, codebook)
        new_error = _error(new_count, new_total, new_location, new_scale, codebook)
        better = new_error < error
        location = torch.where(better, new_location, location[:, None])[:, 0]
        scale = torch.where(better, new_scale, scale[:, None])[:, 0]
        count = torch.where(better[..., None], new_count, count)
        total = torch.where(better[..., None], new_total, total)
        error = torch.where(better, new_error, error)
    return location, scale


FITS: dict[str, Fit] = {
    "range": value_range,
    "moments": moments,
    "search": search,
    "least_squares": least_squares,
}


def refitted(
    weight: Float[Tensor, " numel"],
    level: Float[Tensor, " numel"],
    location: Float[Tensor, " 1"],
    scale: Float[Tensor, " 1"],
    store: Store = in_float16,
) -> Lines:
    """Return the least-squares line, as stored, of one group's weights on their levels.

    If all levels are equal, the scale stays and the location follows from the mean.
    """
    mean, mean_level = weight.mean(), level.mean()
    centred = level - mean_level
    variance = centred @ centred
    if variance > 1e-12 * len(level):
        scale = store(mean[None], (((weight - mean) @ centred) / variance)[None])[1]
    return store(mean - scale * mean_level, scale)


def with_gain(
    weight: Float[Tensor, "groups numel"],
    level: Float[Tensor, "groups numel"],
    location: Float[Tensor, " groups"],
    scale: Float[Tensor, " groups"],
    correction: float,
    store: Store = in_float16,
) -> Lines:
    """Return the lines, as stored, of groups whose gain is raised towards 1.

    The gain is <W_q, W> / <W, W> about the means. For a line of least squared error it is 1 - D,
    with D the relative error: quantized weights are slightly too small. These errors add up over
    weights and layers, while the rest of the error averages out. A gain g becomes
    g^(1 - correction); the group keeps its mean and its codes. At correction 1 the relative error
    rises from D to D / (1 - D).

    Groups whose gain is not positive (depth 0, all codes equal) do not change.

    Args:
        weight: original weights.
        level: levels of their codes, in units of the scale.
        location: location that the codes were made with.
        scale: scale that the codes were made with.
        correction: 0 (no change) to 1 (unbiased: the gain becomes 1).
        store: rounding of lines to their stored form.
    """
    mean, mean_level = weight.mean(dim=1), level.mean(dim=1)
    centered = weight - mean[:, None]
    variance = centered.square().sum(dim=1)
    gain = scale * (centered * (level - mean_level[:, None])).sum(dim=1) / variance
    known = (variance > 0) & (gain > 0)
    factor = torch.where(known, gain, 1.0).pow(-correction)
    new_scale = store(mean, scale * factor)[1]
    new_location, new_scale = store(mean - new_scale * mean_level, new_scale)
    return torch.where(known, new_location, location), torch.where(known, new_scale, scale)


class _Sorted(NamedTuple):
    """Weights of each group in ascending order, and their prefix sums, starting with 0."""

    weight: Float[Tensor, "groups numel"]
    sums: Float[Tensor, "groups edges"]

    @classmethod
    def of(cls, weight: Float[Tensor, "groups numel"]) -> "_Sorted":
        ordered = in_order(weight)
        return cls(ordered, torch.nn.functional.pad(ordered.double().cumsum(dim=1), (1, 0)))


def _searched(
    groups: _Sorted, location: Tensor, scale: Tensor, codebook: Codebook, store: Store
) -> Lines:
    location = store(location, scale)[0]
    grid = SEARCH_GRID.to(scale.device)
    factors = torch.exp2(grid)
    scale = _best(groups, location[:, None], scale[:, None] * factors, codebook, store)[1]
    shifts = location[:, None] + scale[:, None] * grid
    return _best(groups, shifts, scale[:, None], codebook, store)


def _best(
    groups: _Sorted, location: Tensor, scale: Tensor, codebook: Codebook, store: Store
) -> Lines:
    """Return the candidate of least squared error, from broadcastable [groups, candidates]."""
    location, scale = store(*torch.broadcast_tensors(location, scale))
    count, total = _cells(groups, location, scale, codebook)
    error = _error(count, total, location, scale, codebook)
    choice = error.argmin(dim=1, keepdim=True)
    return location.gather(1, choice)[:, 0], scale.gather(1, choice)[:, 0]


def _cells(
    groups: _Sorted,
    location: Float[Tensor, "groups candidates"],
    scale: Float[Tensor, "groups candidates"],
    codebook: Codebook,
) -> tuple[Int[Tensor, "groups candidates cells"], Float[Tensor, "groups candidates cells"]]:
    """Return the number of weights in each cell, and their sum."""
    cut = torch.zeros(*scale.shape, len(codebook.levels) + 1, dtype=torch.int64)
    cut[..., -1] = groups.weight.shape[1]
    if len(codebook.thresholds):
        edges = location[..., None] + scale[..., None] * codebook.thresholds
        cut[..., 1:-1] = torch.searchsorted(groups.weight, edges.flatten(1)).view_as(edges)
    total = groups.sums.gather(1, cut.flatten(1)).view_as(cut).diff(dim=2)
    return cut.diff(dim=2), total


def _error(
    count: Int[Tensor, "groups candidates cells"],
    total: Float[Tensor, "groups candidates cells"],
    location: Float[Tensor, "groups candidates"],
    scale: Float[Tensor, "groups candidates"],
    codebook: Codebook,
) -> Float[Tensor, "groups candidates"]:
    """Return the squared error of each candidate, up to a constant per group."""
    level = (location[..., None] + scale[..., None] * codebook.levels).double()
    return (count * level.square() - 2 * level * total).sum(dim=2)


def _line(
    count: Tensor, total: Float[Tensor, "groups cells"], levels: Float[Tensor, " cells"]
) -> tuple[Float[Tensor, " groups"], Float[Tensor, " groups"]]:
    """Return the least-squares location and scale from each cell's count and sum of weights."""
    numel, levels = count.sum(dim=1), levels.double()
    mean_level = (count * levels).sum(dim=1) / numel
    mean = total.sum(dim=1) / numel
    centred = levels - mean_level[:, None]
    variance = (count * centred.square()).sum(dim=1) / numel
    covariance = (total * centred).sum(dim=1) / numel
    differ = variance > 1e-20  # equal codes leave only the rounding error of a mean

    scale = torch.where(differ, covariance / torch.where(differ, variance, 1.0), 0.0)
    return mean - scale * mean_level, scale
