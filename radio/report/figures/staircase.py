"""A uniform and a companded quantizer of normal weights, as staircases (the paper's Figure 2)."""

import math

import matplotlib as mpl
import torch
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from torch import Tensor

from radio.report.figures.style import COLOURS, STYLE, new_figure
from radio.runtime.errors import RadioError
from radio.theory.allocation import MAX_BITS
from radio.theory.codebook import companded
from radio.theory.gaussian import gaussian_mse

HEIGHT_IN = 2.0
DRAWN_RANGE = 1.1  # in half ranges
DENSITY_HEIGHT = 0.9  # fraction of the panel


def staircase(bits: int, half_range: float) -> Figure:
    """Return quantized over original weight for both quantizers, above the weights' density.

    The uniform quantizer divides the whole range of the weights into equal cells, as rounding to
    nearest between minimum and maximum does. A range clipped for least error is another quantizer;
    at 4 bits (2.7 standard deviations) its error is below that of the companded one. Errors are
    exact integrals over the density, not samples.

    Args:
        bits: depth of both quantizers, 1 to 8.
        half_range: largest weight, in standard deviations; about 4 among some 10^4 weights.

    Raises:
        RadioError: `bits` or `half_range` is out of range.
    """
    if not 1 <= bits <= MAX_BITS:
        raise RadioError(
            f"figure.draw.bits={bits} is outside 1..{MAX_BITS}: give the depth of the quantizers"
        )
    if not (half_range > 0 and math.isfinite(half_range)):
        raise RadioError(
            f"figure.draw.half_range={half_range} is not above 0 and finite: 4 is usual"
        )
    edges = torch.linspace(-half_range, half_range, 2**bits + 1, dtype=torch.float64)
    book = companded(bits)
    quantizers = {
        f"Uniform over ±{half_range:g}σ": ((edges[1:] + edges[:-1]) / 2, edges[1:-1]),
        "Companded": (book.levels.double(), book.thresholds.double()),
    }
    end = DRAWN_RANGE * half_range
    with mpl.rc_context(STYLE):
        figure = new_figure(HEIGHT_IN)
        panels = figure.subplots(1, 2, sharex=True, sharey=True)
        for axes, colour, (name, (levels, thresholds)) in zip(
            panels, COLOURS, quantizers.items(), strict=False
        ):
            axes.set_title(name, loc="left")
            _density(axes, end)
            _steps(axes, levels, thresholds, end, colour)
            error = gaussian_mse(levels, thresholds)
            axes.text(
                0.04, 0.97, f"MSE\n{error:.3g} σ²", va="top", color=colour, transform=axes.transAxes
            )
            axes.set_xlabel("Weight w (σ)")
            for axis in (axes.xaxis, axes.yaxis):
                axis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10], integer=True))
        panels[0].set_xlim(-end, end)
        panels[0].set_ylim(-end, end)
        panels[0].set_ylabel(f"Quantized to {2**bits} levels (σ)")
    return figure


def _steps(
    axes: Axes,
    levels: Float[Tensor, " levels"],
    thresholds: Float[Tensor, " thresholds"],
    end: float,
    colour: str,
) -> None:
    """Draw the map w -> w_q from -end to end, over the identity."""
    inside = (thresholds > -end) & (thresholds < end)
    first = int((thresholds <= -end).sum())
    shown = levels[first : first + int(inside.sum()) + 1]
    edges = [-end, *thresholds[inside].tolist(), end]
    axes.plot([-end, end], [-end, end], color="0.6", linewidth=0.6, label="identity")
    axes.stairs(shown.tolist(), edges, baseline=None, color=colour, linewidth=1.2)


def _density(axes: Axes, end: float) -> None:
    """Draw the normal density in the background, on its own scale."""
    w = torch.linspace(-end, end, 201)
    height = DENSITY_HEIGHT * torch.exp(-w.square() / 2)
    axes.fill_between(
        w.tolist(), height.tolist(), color="0.92", linewidth=0, transform=axes.get_xaxis_transform()
    )
