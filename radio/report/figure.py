"""Rate against distortion: KL divergence and perplexity over the true rate, method by method.

A column of panels is 3.4 inches wide, half a page, and its type is 8 points at that width.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from radio.runtime.errors import RadioError
from radio.runtime.files import atomic

# Okabe and Ito's palette, which colour-blind readers can tell apart
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
FONT_SIZE = 8
STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": FONT_SIZE,
    "axes.titlesize": FONT_SIZE,
    "axes.labelsize": FONT_SIZE,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "ytick.minor.width": 0.4,
    "lines.linewidth": 1.2,
    "lines.markersize": 4.5,
    "pdf.fonttype": 42,
}
WIDTH_IN, PANEL_HEIGHT_IN, PNG_DPI = 3.4, 2.1, 300
# of quantized models, that is; the reference is a line, not a point
UNCOMPRESSED_BITS = 16
LINE_SPACING = 1.25  # of the font size


def rate_distortion(
    table: pd.DataFrame,
    *,
    method_labels: Mapping[str, str],
    model_labels: Mapping[str, str],
    text_labels: Mapping[str, str],
) -> Figure:
    """Two panels for every model and text of the table: KL divergence above, perplexity below.

    Args:
        table: as `radio.report.table.load_table` gives it; rows without numbers, or without
            loss, are left out.
        method_labels: what readers call the methods, by name.
        model_labels: the same of the models.
        text_labels: the same of the texts.

    Raises:
        RadioError: no row has both a true rate and a KL divergence.
    """
    shown = table.dropna(subset=["bits_true", "kl", "perplexity"])
    # a lossless cell has no place on a logarithmic axis
    shown = shown[(shown.bits_true < UNCOMPRESSED_BITS) & (shown.kl > 0)]
    if shown.empty:
        raise RadioError(
            "the table has no row with bits_true, kl and perplexity of a quantized model, so there "
            "is nothing to draw: run its evaluations first (its column `note` says what is missing)"
        )
    groups = [
        (str(m), str(t), rows) for (m, t), rows in shown.groupby(["model", "text"], sort=False)
    ]
    looks = {
        name: (COLOURS[index % len(COLOURS)], MARKERS[index % len(MARKERS)])
        for index, name in enumerate(dict.fromkeys(shown.method))
    }
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH_IN * len(groups), 2 * PANEL_HEIGHT_IN), layout="constrained")
        FigureCanvasAgg(figure)
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
            below.set_xlabel("True rate (bits per quantized weight)")
            below.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
        figure.draw_without_rendering()  # settles limits and layout, on which the labels depend
        for above in panels[0]:
            _direct_labels(above, figure.dpi / 72, method_labels)
    return figure


def save_figure(figure: Figure, out: Path) -> None:
    """Write the figure as `out` (PNG) and as PDF beside it; equal figures give equal bytes."""
    with mpl.rc_context(STYLE):
        for path, metadata in (
            (out.with_suffix(".pdf"), {"CreationDate": None, "Producer": None, "Creator": None}),
            (out, {"Software": None}),
        ):
            with atomic(path) as scratch:
                figure.savefig(scratch, dpi=PNG_DPI, metadata=metadata)


def _panel(
    axes: Axes,
    rows: pd.DataFrame,
    column: str,
    error: str,
    looks: Mapping[str, tuple[str, str]],
    label: str,
) -> None:
    """Draw every method's `column` over the true rate, on a logarithmic axis.

    Error bars are one standard error; that of a perplexity is paired with the reference's, since
    the text's own variation moves all methods and the dashed line alike.
    """
    for method, points in rows.groupby("method", sort=False):
        colour, marker = looks[str(method)]
        points = points.sort_values("bits_true")
        axes.errorbar(
            points.bits_true.to_numpy(),
            points[column].to_numpy(),
            yerr=points[error].fillna(0).to_numpy(),
            color=colour,
            marker=marker,
            capsize=2,
            elinewidth=0.8,
            label=str(method),
        )
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_locator(LogLocator(subs=range(1, 10)))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.set_ylabel(label)
    axes.grid(axis="y", color="0.9", linewidth=0.5)
    axes.set_axisbelow(True)


def _reference(axes: Axes, rows: pd.DataFrame) -> None:
    """The uncompressed model's perplexity, as a dashed line with its value."""
    reference = float((rows.perplexity - rows.perplexity_increase).median())
    if math.isnan(reference):
        return
    axes.axhline(reference, color="0.35", linestyle=(0, (4, 2)), linewidth=0.8, label="reference")
    axes.annotate(
        f"FP16, {reference:.1f}",
        (0, reference),
        xycoords=("axes fraction", "data"),
        xytext=(2, -2),
        textcoords="offset points",
        va="top",
        color="0.35",
    )
    low, high = axes.get_ylim()
    # room for the words below the line
    axes.set_ylim(min(low, reference * (low / high) ** 0.12), high)


def _direct_labels(axes: Axes, pixels_per_point: float, names: Mapping[str, str]) -> None:
    """Name every curve at its right end, with labels pushed apart where curves end together."""
    bars: Any = axes.containers
    curves = [bar.lines[0] for bar in bars]
    texts = [names.get(bar.get_label(), bar.get_label()).replace(", ", ",\n") for bar in bars]
    ends = [curve.get_xydata()[-1] for curve in curves]
    wanted = [axes.transData.transform(end)[1] / pixels_per_point for end in ends]
    sizes = [LINE_SPACING * FONT_SIZE * (text.count("\n") + 1) for text in texts]
    for curve, text, end, height, placed in zip(
        curves, texts, ends, wanted, spread(wanted, sizes), strict=True
    ):
        axes.annotate(
            text,
            end,
            xytext=(1.06, placed - height),
            textcoords=("axes fraction", "offset points"),
            va="center",
            color=curve.get_color(),
            linespacing=1.05,
            arrowprops={
                "arrowstyle": "-",
                "color": curve.get_color(),
                "linewidth": 0.5,
                "relpos": (0, 0.5),
                "shrinkA": 1,
                "shrinkB": 3,
            },
        )


def spread(heights: Sequence[float], sizes: Sequence[float]) -> list[float]:
    """Centres nearest `heights`, in the same order, at which things of `sizes` do not overlap.

    >>> spread([0.0, 1.0, 10.0], [4.0, 4.0, 4.0])
    [-1.5, 2.5, 10.0]
    """
    order = sorted(range(len(heights)), key=heights.__getitem__)
    # stack neighbours that are too close, and put each stack where its members pull it on average
    stacks: list[list[int]] = []
    for index in order:
        stacks.append([index])
        while len(stacks) > 1 and _base(stacks[-1], heights, sizes) < (
            _base(stacks[-2], heights, sizes) + sum(sizes[i] for i in stacks[-2])
        ):
            stacks[-2:] = [stacks[-2] + stacks[-1]]
    centres = [0.0] * len(heights)
    for stack in stacks:
        bottom = _base(stack, heights, sizes)
        for index in stack:
            centres[index] = bottom + sizes[index] / 2
            bottom += sizes[index]
    return centres


def _base(stack: Sequence[int], heights: Sequence[float], sizes: Sequence[float]) -> float:
    """Bottom of a stack whose members are on average at their wanted heights."""
    below, pull = 0.0, 0.0
    for index in stack:
        pull += heights[index] - (below + sizes[index] / 2)
        below += sizes[index]
    return pull / len(stack)
