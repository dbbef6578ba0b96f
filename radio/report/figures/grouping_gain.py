"""Bits that grouping saves, per matrix and per column (the paper's Figure 3)."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import matplotlib as mpl
import numpy as np
from jaxtyping import Float, Int
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from torch import Tensor

from radio.calibrate.statistics import LayerStatistics
from radio.report.figures.layers import block_and_matrix
from radio.report.figures.style import (
    COLOURS,
    FONT_SIZE,
    REFERENCE_DASHES,
    STYLE,
    direct_labels,
    horizontal_grid,
    new_figure,
)
from radio.runtime.errors import RadioError
from radio.theory.grouping import cluster_sizes
from radio.theory.grouping_gain import grouping_gain_bits, savings_bits

MATRIX_HEIGHT_IN, SORTED_HEIGHT_IN = 0.55, 1.9
AXIS_HEIGHT_IN = 0.5  # of the block numbers and the titles above the bars
COLUMNS, ROWS = COLOURS[0], COLOURS[1]


class Gain(NamedTuple):
    """Bits per weight that a matrix saves at equal distortion, relative to a single depth."""

    columns: float
    rows: float
    both: float


class Groups(NamedTuple):
    """Sensitivities s_n = G_n^2 S_n^2 and numbers of weights of the groups of a matrix."""

    sensitivity: Float[Tensor, "clusters cols"]
    numel: Int[Tensor, "clusters cols"]

    def merged(self, dim: int) -> tuple[Tensor, Tensor]:
        """Return sensitivities and sizes of whole columns (dim 0) or row clusters (dim 1).

        Merged groups share a depth, not a scale: their sensitivity is the weighted mean.
        """
        numel = self.numel.sum(dim)
        return (self.sensitivity * self.numel).sum(dim) / numel, numel


def grouping_gain(statistics: Mapping[str, LayerStatistics], layer: str) -> Figure:
    """Return the bits that separate depths of columns, and of row clusters, save in every matrix.

    The panel of each kind of matrix has a bar per block: the savings of the split into columns,
    and on top the additional savings of the split of columns into row clusters, if there are
    several. The last panel has the columns and the row clusters of one matrix, sorted by their
    savings; the means are the savings of the two splits.

    Args:
        statistics: statistics of all layers, from calibration.
        layer: the layer of the last panel.

    Raises:
        RadioError: there are no statistics, a name has no block number, `layer` is not among the
            names, or sensitivities are not finite or all zero.
    """
    if layer not in statistics:
        raise RadioError(
            f"figure.draw.layer={layer} has no statistics: name one of "
            f"{', '.join(list(statistics)[:3])}, ..."
        )
    gains = {name: gain(name, entry) for name, entry in statistics.items()}
    by_matrix: dict[str, dict[int, Gain]] = {}
    for name, value in gains.items():
        block, matrix = block_and_matrix(name)
        by_matrix.setdefault(matrix, {})[block] = value
    highest = max(value.both for value in gains.values())
    bars_height_in = MATRIX_HEIGHT_IN * len(by_matrix) + AXIS_HEIGHT_IN
    with mpl.rc_context(STYLE):
        figure = new_figure(bars_height_in + SORTED_HEIGHT_IN)
        subfigures: Any = figure.subfigures(2, 1, height_ratios=(bars_height_in, SORTED_HEIGHT_IN))
        bars, last = subfigures
        panels = bars.subplots(len(by_matrix), 1, sharex=True, sharey=True, squeeze=False)[:, 0]
        for axes, (matrix, values) in zip(panels, by_matrix.items(), strict=True):
            _bars(axes, matrix, values)
        panels[0].set_ylim(0, max(1.05 * highest, 0.01))
        panels[-1].set_xlabel("Block")
        bars.supylabel("Bits saved per weight", fontsize=FONT_SIZE)
        _legend(panels[0], any(len(entry.grad_var) > 1 for entry in statistics.values()))
        sorted_panel = last.subplots()
        curves = _sorted_savings(sorted_panel, _groups(statistics[layer]))
        block, matrix = block_and_matrix(layer)
        sorted_panel.set_title(f"{matrix} of block {block}", loc="left")
        figure.draw_without_rendering()
        direct_labels(sorted_panel, curves)
    return figure


def gain(name: str, statistics: LayerStatistics) -> Gain:
    """Return the savings of the splits of one matrix.

    Raises:
        RadioError: a sensitivity is negative or not finite, or all are zero.
    """
    groups = _groups(statistics)
    try:
        return Gain(
            columns=grouping_gain_bits(*groups.merged(dim=0)),
            rows=grouping_gain_bits(*groups.merged(dim=1)),
            both=grouping_gain_bits(*groups),
        )
    except ValueError as error:
        raise RadioError(f"invalid statistics of {name} ({error}): rerun calibration") from error


def _groups(statistics: LayerStatistics) -> Groups:
    sensitivity = statistics.grad_var.double() * statistics.weight_var.double()
    sizes = cluster_sizes(statistics.cluster, len(sensitivity))
    return Groups(sensitivity, sizes[:, None].expand(sensitivity.shape))


def _bars(axes: Axes, matrix: str, values: Mapping[int, Gain]) -> None:
    """Draw a stacked bar per block: savings of columns, and additional savings of rows."""
    blocks = list(values)
    columns = [value.columns for value in values.values()]
    added = [value.both - value.columns for value in values.values()]
    axes.bar(blocks, columns, color=COLUMNS, width=0.8, label="columns")
    axes.bar(blocks, added, bottom=columns, color=ROWS, width=0.8, label="rows")
    mean = float(np.mean([value.both for value in values.values()]))
    axes.annotate(
        f"{matrix}\nmean {mean:.2f}",
        (1, 0.5),
        xycoords="axes fraction",
        xytext=(4, 0),
        textcoords="offset points",
        va="center",
    )
    axes.yaxis.set_major_locator(MaxNLocator(3, steps=[1, 2, 5, 10]))
    axes.xaxis.set_major_locator(MaxNLocator(7, steps=[1, 2, 5, 10], integer=True))
    horizontal_grid(axes)


def _legend(axes: Axes, with_rows: bool) -> None:
    """Explain the colours of the bars, in titles of these colours above the first panel."""
    axes.set_title("Split into columns", loc="left", color=COLUMNS)
    if with_rows:
        axes.set_title("and row clusters", loc="right", color=ROWS)


def _sorted_savings(axes: Axes, groups: Groups) -> list[tuple[str, Line2D]]:
    """Draw the savings of single columns and row clusters, in descending order, and their means.

    Returns:
        The lines of the means, with their labels.
    """
    means = []
    for dim, word, colour in ((0, "columns", COLUMNS), (1, "row clusters", ROWS)):
        sensitivity, numel = groups.merged(dim)
        if len(numel) == 1:
            continue
        savings, order = savings_bits(sensitivity, numel).sort(descending=True)
        share = 100 * numel[order].double() / numel.sum()
        edges = [0.0, *share.cumsum(0).tolist()]
        axes.stairs(savings.tolist(), edges, baseline=None, color=colour, linewidth=1.2)
        mean = grouping_gain_bits(sensitivity, numel)
        (line,) = axes.plot(
            [0, 100], [mean, mean], color=colour, linestyle=REFERENCE_DASHES, linewidth=0.8
        )
        means.append((f"{word},\nmean {mean:.2f}", line))
    axes.set_xlim(0, 100)
    axes.set_xlabel("Share of weights, sorted by savings (%)")
    axes.set_ylabel("Bits saved per weight")
    horizontal_grid(axes)
    return means
