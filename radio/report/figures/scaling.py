"""Time and peak memory of each stage against the number of parameters."""

from collections.abc import Mapping

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from radio.report.figures.style import (
    COLOURS,
    GREY,
    MARKERS,
    PANEL_HEIGHT_IN,
    REFERENCE_DASHES,
    STYLE,
    direct_labels,
    horizontal_grid,
    logarithmic,
    new_figure,
)
from radio.report.scaling import OURS, PAPER, TOTAL
from radio.runtime.errors import RadioError

STORED_BYTES = 2  # per weight on disk, in half precision


def scaling(table: pd.DataFrame, device: str) -> Figure:
    """Return two panels over the number of parameters: time, with the paper's, and peak memory.

    Args:
        table: a table of `radio.report.scaling.load_scaling_table`; rows without times are left
            out.
        device: the device on which the paper measured its times.

    Raises:
        RadioError: the table has no times.
    """
    points = table.dropna(subset=["model", "wall_s", "parameters"])
    stages = list(dict.fromkeys(points.stage[points.source == OURS]))
    if not stages:
        raise RadioError(
            "the table has no times of its stages: run its jobs first (its column `note` says "
            "what is missing)"
        )
    fits = table[table.model.isna()].set_index(["source", "stage"]).exponent
    with mpl.rc_context(STYLE):
        figure = new_figure(2 * PANEL_HEIGHT_IN)
        above, below = figure.subplots(2, 1, sharex=True)
        times, peaks = [], []
        for stage, colour, marker in zip(stages, COLOURS, MARKERS, strict=False):
            rows = points[(points.source == OURS) & (points.stage == stage)]
            look = {"color": colour, "marker": marker}
            times.append(
                (_label(stage, fits[OURS, stage]), _line(above, rows, "wall_s", 1.0, look))
            )
            if stage != TOTAL:
                line = _line(below, rows, "peak_memory_bytes", 1e-9, look)
                peaks.append((stage, line))
        dashed = {"color": GREY, "linestyle": REFERENCE_DASHES, "linewidth": 0.8}
        rows = points[points.source == PAPER]
        name = _label(f"paper, {device}", fits[PAPER, TOTAL])
        times.append((name, _line(above, rows, "wall_s", 1.0, dashed | {"marker": "."})))
        sizes = np.sort(points.parameters[points.source == OURS].unique()).astype(float)
        (stored,) = below.plot(sizes, STORED_BYTES * sizes / 1e9, **dashed)
        peaks.append(("weights on disk", stored))
        for axes, label in ((above, "Time (s)"), (below, "Peak memory (GB)")):
            axes.set_xscale("log")
            axes.set_ylabel(label)
            logarithmic(axes)
            horizontal_grid(axes)
        below.set_xlabel("Parameters")
        figure.draw_without_rendering()
        direct_labels(above, times)
        direct_labels(below, peaks)
    return figure


def _line(
    axes: Axes, rows: pd.DataFrame, column: str, unit: float, look: Mapping[str, object]
) -> Line2D:
    """Draw a stage's column over the parameters; return the line."""
    rows = rows.sort_values("parameters")
    x, y = rows.parameters.to_numpy(dtype=float), unit * rows[column].to_numpy(dtype=float)
    (line,) = axes.plot(x, y, **look)  # type: ignore[arg-type]
    return line


def _label(stage: str, exponent: float) -> str:
    """Return the label of a stage, with the exponent of its time if there is one."""
    return stage if pd.isna(exponent) else f"{stage}, $n^{{{exponent:.2f}}}$"
