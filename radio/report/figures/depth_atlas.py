"""The atlas of depths: bits by block, matrix and row cluster, and the share of each depth."""

from collections.abc import Mapping
from typing import NamedTuple

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.ticker import MaxNLocator

from radio.allocate.depths import Depths
from radio.calibrate.statistics import LayerStatistics
from radio.report.figures.layers import block_and_matrix
from radio.report.figures.style import (
    COLOURS,
    FONT_SIZE,
    STYLE,
    horizontal_grid,
    new_figure,
)
from radio.runtime.errors import RadioError
from radio.theory.allocation import MAX_BITS
from radio.theory.grouping import cluster_sizes

ROW_HEIGHT_IN, SHARES_HEIGHT_IN, AXIS_HEIGHT_IN = 0.17, 1.25, 0.75
MAP = "PuOr_r"  # diverging and colour-blind-safe; white at the average
MIN_RANGE_BITS = 0.1  # of the colours on either side of the average
QUANTILE = 0.98  # of the cells' distances from the average; larger ones have the last colour


class Strip(NamedTuple):
    """One row of the atlas: a row cluster of one kind of matrix in every block.

    Attributes:
        matrix: kind of matrix.
        cluster: index of the row cluster, from the least sensitive; None for a single cluster.
        bits: mean depth [blocks]; NaN if a block has no such cluster.
        weights: number of weights [blocks].
    """

    matrix: str
    cluster: int | None
    bits: np.ndarray
    weights: np.ndarray


def depth_atlas(depths: Depths, statistics: Mapping[str, LayerStatistics]) -> Figure:
    """Return the mean depth of every block, matrix and row cluster, above the shares of depths.

    Args:
        depths: allocated depths of all layers.
        statistics: statistics of the same layers, for the sizes of their row clusters.

    Raises:
        RadioError: the two have different layers, or a name has no block number.
    """
    if set(depths) != set(statistics):
        raise RadioError("depths and statistics have different layers: give those of one model")
    strips = _strips(depths, statistics)
    shares = _shares(depths, statistics)
    rows = len(strips)
    map_height_in = ROW_HEIGHT_IN * rows + AXIS_HEIGHT_IN
    with mpl.rc_context(STYLE):
        figure = new_figure(map_height_in + SHARES_HEIGHT_IN)
        above, below = figure.subplots(2, 1, height_ratios=(map_height_in, SHARES_HEIGHT_IN))
        image = _atlas(above, strips)
        bar = figure.colorbar(image, ax=above, pad=0.02, aspect=30, extend="both")
        bar.set_label("Mean depth (bits per weight)", fontsize=FONT_SIZE)
        bar.outline.set_linewidth(0.6)
        _bars(below, shares)
    return figure


def _strips(depths: Depths, statistics: Mapping[str, LayerStatistics]) -> list[Strip]:
    """Return the rows of the atlas, in order of execution."""
    places = {name: block_and_matrix(name) for name in statistics}
    blocks = 1 + max(block for block, _ in places.values())
    clusters: dict[str, int] = {}
    for name, (_, matrix) in places.items():
        clusters[matrix] = max(clusters.get(matrix, 0), len(depths[name]))
    strips = {
        (matrix, cluster): Strip(
            matrix, cluster if count > 1 else None, np.full(blocks, np.nan), np.zeros(blocks)
        )
        for matrix, count in clusters.items()
        for cluster in range(count)
    }
    for name, (block, matrix) in places.items():
        rows = cluster_sizes(statistics[name].cluster, len(depths[name])).tolist()
        for cluster, (bits, size) in enumerate(zip(depths[name], rows, strict=True)):
            strip = strips[matrix, cluster]
            strip.bits[block] = float(bits.double().mean())
            strip.weights[block] = size * bits.numel()
    return list(strips.values())


def _shares(depths: Depths, statistics: Mapping[str, LayerStatistics]) -> np.ndarray:
    """Return the share of all weights at each depth 0..8."""
    counts = np.zeros(MAX_BITS + 1)
    for name, entry in depths.items():
        rows = cluster_sizes(statistics[name].cluster, len(entry))
        for bits, size in zip(entry, rows.tolist(), strict=True):
            counts += size * np.bincount(bits.numpy().astype(int), minlength=MAX_BITS + 1)
    return counts / counts.sum()


def _atlas(axes: Axes, strips: list[Strip]) -> AxesImage:
    """Draw mean depths as colours around the overall mean; label each strip with its mean."""
    bits = np.stack([strip.bits for strip in strips])
    weights = np.stack([strip.weights for strip in strips])
    centre = np.average(np.nan_to_num(bits), weights=weights)
    half_range = max(float(np.nanquantile(np.abs(bits - centre), QUANTILE)), MIN_RANGE_BITS)
    image = axes.imshow(
        bits,
        aspect="auto",
        interpolation="nearest",
        cmap=MAP,
        vmin=centre - half_range,
        vmax=centre + half_range,
    )
    names = []
    for strip in strips:
        mean = np.average(np.nan_to_num(strip.bits), weights=strip.weights)
        cluster = "" if strip.cluster is None else f" {strip.cluster + 1}"
        names.append(f"{strip.matrix}{cluster}  {mean:.2f}")
    axes.set_yticks(range(len(strips)), names)
    axes.set_xlabel("Block")
    axes.xaxis.set_major_locator(MaxNLocator(7, steps=[1, 2, 5, 10], integer=True))
    axes.set_title("Matrix, row cluster, mean bits", loc="left")
    axes.tick_params(axis="y", length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)
    return image


def _bars(axes: Axes, shares: np.ndarray) -> None:
    """Draw a bar for each depth, with its share in percent."""
    bars = axes.bar(
        range(len(shares)),
        100 * shares,
        color=COLOURS[0],
    )
    axes.bar_label(bars, [_percent(share) for share in shares], padding=1)
    axes.set_xticks(range(len(shares)))
    axes.set_xlabel("Depth (bits)")
    axes.set_ylabel("Weights (%)")
    axes.set_ylim(0, 118 * shares.max())
    horizontal_grid(axes)


def _percent(share: float) -> str:
    """Return a share in whole percent.

    >>> _percent(0.622), _percent(0.001), _percent(0.0)
    ('62', '<1', '0')
    """
    return "<1" if 0 < share < 0.01 else f"{100 * share:.0f}"
