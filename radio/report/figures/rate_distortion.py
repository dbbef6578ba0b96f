"""Rate against distortion: KL divergence and perplexity over the true rate, per method."""

import itertools
import math
from collections.abc import Mapping
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from radio.report.figures.style import (
    COLOURS,
    GREY,
    MARKERS,
    PANEL_HEIGHT_IN,
    REFERENCE_DASHES,
    STYLE,
    WIDTH_IN,
    direct_labels,
    horizontal_grid,
    logarithmic,
    new_figure,
)
from radio.runtime.errors import RadioError

# the uncompressed model is a line, not a point
UNCOMPRESSED_BITS = 16
MANY_RATES = 8  # points of a curve above which markers of the usual size touch
# multiple of the uncompressed model's perplexity; ruined models beyond it would flatten the rest
RUINED = 32
# d = s 2^(-2B): one more bit divides the distortion by 4, and 10 log10(4) = 6.02 dB
GUIDE_LABEL = "−6.02 dB/bit"


def rate_distortion(
    table: pd.DataFrame,
    *,
    method_labels: Mapping[str, str],
    model_labels: Mapping[str, str],
    text_labels: Mapping[str, str],
) -> Figure:
    """Return two panels for every model and text: KL divergence above, perplexity below.

    Args:
        table: a table of `radio.report.table.load_table`; rows without numbers, or with zero
            divergence, are left out.
        method_labels: readers' names of the methods.
        model_labels: readers' names of the models.
        text_labels: readers' names of the texts.

    Raises:
        RadioError: no row has both a true rate and a KL divergence.
    """
    shown = table.dropna(subset=["bpw", "kl", "perplexity"])
    # a logarithmic axis cannot show zero divergence
    shown = shown[(shown.bpw < UNCOMPRESSED_BITS) & (shown.kl > 0)]
    if shown.empty:
        raise RadioError(
            "the table has no row with bpw, kl and perplexity of a quantized model: run its "
            "evaluations first (its column `note` says what is missing)"
        )
    groups = [
        (str(m), str(t), rows) for (m, t), rows in shown.groupby(["model", "text"], sort=False)
    ]
    looks = {
        name: (COLOURS[index % len(COLOURS)], MARKERS[index % len(MARKERS)])
        for index, name in enumerate(dict.fromkeys(shown.method))
    }
    with mpl.rc_context(STYLE):
        figure = new_figure(2 * PANEL_HEIGHT_IN, width_in=WIDTH_IN * len(groups))
        panels = figure.subplots(2, len(groups), sharex="col", squeeze=False)
        for (above, below), (model, text, rows) in zip(panels.T, groups, strict=True):
            above.set_title(
                f"{model_labels.get(model, model)}, {text_labels.get(text, text)}", loc="left"
            )
            _panel(above, rows, "kl", "kl_se", looks, "KL divergence (nats per token)")
            _panel(
                below, rows, "perplexity", "perplexity_increase_se", looks, "Perplexity per token"
            )
            _reference(below, rows)
            for axes in (above, below):
                logarithmic(axes)
            below.set_xlabel("True rate (bits per quantized weight)")
            below.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
        figure.draw_without_rendering()  # the labels depend on limits and layout
        for above, (_, _, rows) in zip(panels[0], groups, strict=True):
            _label_methods(above, method_labels)
            figure.draw_without_rendering()  # the labels narrow the panel
            _guide(above, rows)
    return figure


def _panel(
    axes: Axes,
    rows: pd.DataFrame,
    column: str,
    error: str,
    looks: Mapping[str, tuple[str, str]],
    label: str,
) -> None:
    """Draw every method's `column` over the true rate, on a logarithmic axis.

    Error bars are one standard error; that of a perplexity is paired with the reference, since
    the variation of the text shifts all methods and the dashed line alike.
    """
    axes.set_yscale("log")
    for method, points in rows.groupby("method", sort=False):
        colour, marker = looks[str(method)]
        points = points.sort_values("bpw")
        axes.errorbar(
            points.bpw.to_numpy(),
            points[column].to_numpy(),
            yerr=points[error].fillna(0).to_numpy(),
            color=colour,
            marker=marker,
            markersize=2.5 if len(points) > MANY_RATES else None,
            markeredgecolor="white",  # separates markers where curves meet
            markeredgewidth=0.3,
            ecolor=colour,
            capsize=2 if len(points) <= MANY_RATES else 0,
            elinewidth=0.8,
            label=str(method),
        )
    axes.set_ylabel(label)
    horizontal_grid(axes)


def _reference(axes: Axes, rows: pd.DataFrame) -> None:
    """Draw the uncompressed model's perplexity as a dashed line with its value.

    The axis ends at `RUINED` times this value; curves above it leave the panel.
    """
    reference = float((rows.perplexity - rows.perplexity_increase).median())
    if math.isnan(reference):
        return
    axes.axhline(
        reference, color=GREY, linestyle=REFERENCE_DASHES, linewidth=0.8, label="reference"
    )
    axes.annotate(
        f"FP16, {reference:.1f}",
        (0, reference),
        xycoords=("axes fraction", "data"),
        xytext=(2, -2),
        textcoords="offset points",
        va="top",
        color=GREY,
    )
    low, high = axes.get_ylim()
    if rows.perplexity.max() > RUINED * reference:
        low, high = reference, RUINED * reference
    # room for the label below the line
    axes.set_ylim(min(low, reference * (low / high) ** 0.12), high)


def _label_methods(axes: Axes, names: Mapping[str, str]) -> None:
    """Label each curve with its method, at its right end."""
    bars: Any = axes.containers
    curves = [(bar.get_label(), bar.lines[0]) for bar in bars]
    direct_labels(
        axes, [(names.get(name, name).replace(", ", ",\n"), curve) for name, curve in curves]
    )


def _guide(axes: Axes, rows: pd.DataFrame) -> None:
    """Draw the slope of high-rate theory, KL ~ 2^(-2R), through the end of the lowest curve."""
    ends = rows.sort_values("bpw").groupby("method", sort=False).tail(1)
    end_bits, end_kl = ends.loc[ends.kl == ends.kl.min(), ["bpw", "kl"]].to_numpy()[0]
    rates, limits = np.array(axes.get_xlim()), axes.get_ylim()
    (line,) = axes.plot(
        rates,
        end_kl * 4.0 ** (end_bits - rates),
        color="0.6",
        linestyle=REFERENCE_DASHES,
        linewidth=0.6,
        zorder=1,
        label="guide",
    )
    axes.set_xlim(*rates)
    axes.set_ylim(*limits)
    _label_guide(axes, line)


def _label_guide(axes: Axes, line: Line2D) -> None:
    """Label the guide inside the panel, where the label crosses the fewest curves."""
    ends = axes.transData.transform(line.get_xydata())
    bars: Any = axes.containers
    paths = [bar.lines[0].get_transform().transform_path(bar.lines[0].get_path()) for bar in bars]
    label = axes.annotate(
        GUIDE_LABEL, (0.0, 0.0), xytext=(0.0, 0.0), textcoords="offset points", color="0.45"
    )

    def move(below: bool, share: float) -> None:
        """Put the label's corner at `share` of the line, just below or above it."""
        x, y = axes.transData.inverted().transform(ends[0] + share * (ends[1] - ends[0]))
        label.xy = (float(x), float(y))
        label.set_position((-5, -2) if below else (5, 2))
        label.set_horizontalalignment("right" if below else "left")
        label.set_verticalalignment("top" if below else "bottom")

    def cost(place: tuple[bool, float]) -> int:
        move(*place)
        box = label.get_window_extent().padded(2)
        outside = box.x0 < axes.bbox.x0 or box.x1 > axes.bbox.x1
        outside |= box.y0 < axes.bbox.y0 or box.y1 > axes.bbox.y1
        crossed = sum(path.intersects_bbox(box, filled=False) for path in paths)
        return int(crossed + outside * (len(paths) + 1))

    # curves of real models bend upwards, away from the area below the line
    move(*min(itertools.product((True, False), np.arange(0.05, 1, 0.05)), key=cost))
