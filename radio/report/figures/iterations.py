"""Loss of a model during quantization, per iteration (the paper's Figure 4)."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from radio.report.figures.style import (
    GREY,
    PANEL_HEIGHT_IN,
    REFERENCE_DASHES,
    STYLE,
    direct_labels,
    horizontal_grid,
    logarithmic,
    new_figure,
)
from radio.runtime.errors import RadioError

AXIS_LABELS = {
    "perplexity": "Perplexity per token",
    "kl": "KL divergence (nats per token)",
}


@dataclass(frozen=True)
class Trace:
    """Measurements of one run.

    Attributes:
        label: readers' name of the run.
        colour: colour of its curve and label.
        points: one mapping per iteration, with `iteration`, `perplexity` and `kl` (nats per
            token); None, or no entry, for an iteration without evaluation.
        reference: the quantity of the full-precision model; None to omit it.
    """

    label: str
    colour: str
    points: Sequence[Mapping[str, float | int | None]]
    reference: float | None = None


def iterations(traces: Sequence[Trace], quantity: Literal["perplexity", "kl"]) -> Figure:
    """Return one curve per run, over the iterations at which `quantity` was measured.

    Raises:
        RadioError: there is no trace, two traces share a label, or a trace has no values or a
            reference that is not positive and finite.
    """
    if quantity not in AXIS_LABELS:
        raise RadioError(
            f"figure.draw.quantity={quantity!r} is unknown: choose one of {sorted(AXIS_LABELS)}"
        )
    labels = [trace.label for trace in traces]
    if not traces or len(set(labels)) != len(labels):
        raise RadioError(f"the traces {labels} need distinct labels, and at least one trace")
    for trace in traces:
        if trace.reference is not None and not 0 < trace.reference < math.inf:
            raise RadioError(
                f"reference={trace.reference} of trace {trace.label} has no logarithm: give the "
                "full-precision model's value, or None"
            )
    measured = {trace.label: _measured(trace, quantity) for trace in traces}
    with mpl.rc_context(STYLE):
        figure = new_figure(PANEL_HEIGHT_IN)
        axes = figure.subplots()
        axes.set_yscale("log")
        for trace in traces:
            x, y = zip(*measured[trace.label], strict=True)
            axes.plot(x, y, color=trace.colour, marker="o", markersize=2.5)
        curves = list(zip(labels, axes.lines, strict=True))
        curves += _references(axes, traces)
        axes.set_xlabel("Iteration")
        axes.set_ylabel(AXIS_LABELS[quantity])
        axes.xaxis.set_major_locator(MaxNLocator(8, steps=[1, 2, 5, 10], integer=True))
        logarithmic(axes)
        horizontal_grid(axes)
        figure.draw_without_rendering()
        direct_labels(axes, curves)
    return figure


def _measured(trace: Trace, quantity: str) -> list[tuple[float, float]]:
    """Return (iteration, value) in order, for the values that have a logarithm."""
    points = []
    for point in trace.points:
        iteration, value = point.get("iteration"), point.get(quantity)
        if iteration is None:
            raise RadioError(f"a point of trace {trace.label} has no iteration: {dict(point)}")
        if value is not None and value > 0 and math.isfinite(value):
            points.append((float(iteration), float(value)))
    if not points:
        raise RadioError(
            f"trace {trace.label} has no positive finite {quantity}: evaluate its iterations, or "
            "omit it"
        )
    return sorted(points)


def _references(axes: Axes, traces: Sequence[Trace]) -> list[tuple[str, Line2D]]:
    """Draw the full-precision models' values as dashed lines; a common value once, in grey.

    Returns:
        The lines, with their labels.
    """
    values = {trace.reference: trace.colour for trace in traces if trace.reference is not None}
    ends = axes.get_xlim()
    lines = []
    for value, colour in values.items():
        (line,) = axes.plot(
            ends,
            [value, value],
            color=GREY if len(values) == 1 else colour,
            linestyle=REFERENCE_DASHES,
            linewidth=0.8,
            label="reference",
        )
        lines.append((f"FP16, {value:.2f}", line))
    axes.set_xlim(*ends)
    return lines
