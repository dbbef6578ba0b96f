"""The common style of all figures: half a page wide, 8-point type, colour-blind-safe colours.

A column of panels is 3.4 inches wide (half a page), and its type is 8 points at that width.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter, NullLocator

from radio.runtime.files import atomic

# Okabe and Ito's colour-blind-safe palette; Tol's dark wine replaces its yellow, which is
# illegible as text on white
COLOURS = (
    "#0072B2",
    "#D55E00",
    "#009E73",
    "#CC79A7",
    "#E69F00",
    "#56B4E9",
    "#000000",
    "#882255",
)
# one more than colours, so that a cycle through both repeats no pair
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">")
GREY = "0.35"
REFERENCE_DASHES = (0, (4, 2))
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
LINE_SPACING = 1.25  # of the font size
PLAIN_NUMBERS = (1e-4, 1e4)  # outside this range a power of ten is shorter


def new_figure(height_in: float, *, width_in: float = WIDTH_IN) -> Figure:
    """Return an empty figure with a constrained layout; draw in `mpl.rc_context(STYLE)`."""
    figure = Figure(figsize=(width_in, height_in), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def save_figure(figure: Figure, out: Path) -> None:
    """Write the figure to `out` (PNG) and as PDF next to it; equal figures give equal bytes."""
    with mpl.rc_context(STYLE):
        for path, metadata in (
            (out.with_suffix(".pdf"), {"CreationDate": None, "Producer": None, "Creator": None}),
            (out, {"Software": None}),
        ):
            with atomic(path) as scratch:
                figure.savefig(scratch, dpi=PNG_DPI, metadata=metadata)


def horizontal_grid(axes: Axes) -> None:
    """Draw faint lines at the ticks of the vertical axis, behind the data."""
    axes.grid(axis="y", color="0.9", linewidth=0.5)
    axes.set_axisbelow(True)


def logarithmic(axes: Axes) -> None:
    """Make the vertical axis logarithmic, with as many tick labels as its limits have room for.

    Call it after everything is drawn.
    """
    axes.set_yscale("log")
    low, high = axes.get_ylim()
    decades = np.log10(high / low)
    if decades < 0.8:  # ticks at 1, 2 and 5 would be one or two
        axes.yaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 4, 5, 10]))
        axes.yaxis.set_minor_locator(NullLocator())
    else:
        subs = (1, 2, 5) if decades < 2.5 else (1, 3) if decades < 4 else (1,)
        axes.yaxis.set_major_locator(LogLocator(subs=subs))
        axes.yaxis.set_minor_locator(LogLocator(subs=range(1, 10)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: _number(value)))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.set_ylim(low, high)


def _number(value: float) -> str:
    """Return the shortest label of a tick.

    >>> _number(0.05), _number(1e6)
    ('0.05', '$10^{6}$')
    """
    if PLAIN_NUMBERS[0] <= value <= PLAIN_NUMBERS[1]:
        return f"{value:g}"
    mantissa, exponent = f"{value:.0e}".split("e")
    times = "" if mantissa == "1" else f"{mantissa}\\cdot"
    return f"${times}10^{{{int(exponent)}}}$"


def direct_labels(axes: Axes, curves: Sequence[tuple[str, Line2D]]) -> None:
    """Label every curve at the right of the panel; labels of close ends are pushed apart.

    Call it when limits and layout are final (`Figure.draw_without_rendering`).
    """
    pixels_per_point = axes.get_figure(root=True).dpi / 72  # type: ignore[union-attr]
    bottom, top = (edge / pixels_per_point for edge in (axes.bbox.y0, axes.bbox.y1))
    ends = [_last_point(curve) for _, curve in curves]
    heights = [axes.transData.transform(end)[1] / pixels_per_point for end in ends]
    sizes = [LINE_SPACING * FONT_SIZE * (text.count("\n") + 1) for text, _ in curves]
    # labels that exceed the height of the panel continue below it
    centres = spread(heights, sizes, (min(bottom, top - sum(sizes)), top))
    for (text, curve), end, height, centre in zip(curves, ends, heights, centres, strict=True):
        axes.annotate(
            text,
            end,
            xytext=(1.06, centre - height),
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


def _last_point(curve: Line2D) -> tuple[float, float]:
    points = np.asarray(curve.get_xydata(), dtype=float)
    x, y = points[np.isfinite(points).all(axis=1)][-1]
    return float(x), float(y)


def spread(
    heights: Sequence[float],
    sizes: Sequence[float],
    limits: tuple[float, float] = (-np.inf, np.inf),
) -> list[float]:
    """Return the centres nearest to `heights`, in the same order, without overlap.

    The things to place have the given `sizes`. They stay within `limits`, which must leave room
    for all of them.

    >>> spread([0.0, 1.0, 10.0], [4.0, 4.0, 4.0])
    [-1.5, 2.5, 10.0]
    >>> spread([0.0, 1.0, 10.0], [4.0, 4.0, 4.0], (0.0, 12.0))
    [2.0, 6.0, 10.0]
    """
    order = sorted(range(len(heights)), key=heights.__getitem__)
    # stack neighbours that are too close; each stack minimises its members' squared distances
    stacks: list[list[int]] = []
    for index in order:
        stacks.append([index])
        while len(stacks) > 1 and _base(stacks[-1], heights, sizes) < (
            _base(stacks[-2], heights, sizes) + sum(sizes[i] for i in stacks[-2])
        ):
            stacks[-2:] = [stacks[-2] + stacks[-1]]
    centres = [0.0] * len(heights)
    below, above = 0.0, sum(sizes)
    for stack in stacks:
        # leave room for the stacks above, as for those below
        bottom = _base(stack, heights, sizes)
        bottom = min(max(bottom, limits[0] + below), limits[1] - above)
        for index in stack:
            centres[index] = bottom + sizes[index] / 2
            bottom += sizes[index]
            below += sizes[index]
            above -= sizes[index]
    return centres


def _base(stack: Sequence[int], heights: Sequence[float], sizes: Sequence[float]) -> float:
    """Return the bottom of a stack whose members are on average at their heights."""
    below, pull = 0.0, 0.0
    for index in stack:
        pull += heights[index] - (below + sizes[index] / 2)
        below += sizes[index]
    return pull / len(stack)
