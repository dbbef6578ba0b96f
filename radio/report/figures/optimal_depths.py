"""Optimal depths of a few groups, from their distortions (the paper's Figure 1)."""

import math
from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MultipleLocator

from radio.report.figures.style import (
    COLOURS,
    GREY,
    REFERENCE_DASHES,
    STYLE,
    direct_labels,
    horizontal_grid,
    new_figure,
)
from radio.runtime.errors import RadioError
from radio.theory.allocation import MAX_BITS, depths_at_price

PANEL_HEIGHT_IN = 1.6
SLOPE = 2 * math.log(2)  # -d/dB of s 2^(-2B), as a multiple of it
OPTIMUM: dict[str, Any] = {"marker": "o", "markerfacecolor": "white", "linestyle": ""}
ROUNDED: dict[str, Any] = {"marker": "s", "linestyle": ""}
PRICE: dict[str, Any] = {"color": GREY, "linestyle": REFERENCE_DASHES, "linewidth": 0.8}


def optimal_depths(
    names: Sequence[str], sensitivities: Sequence[float], log2_price: float
) -> Figure:
    """Return three panels with one curve per group: distortion, its slope, and depth.

    The first panel has the distortion d_n = s_n 2^(-2B) over the depth; the second its slope
    -d_n', which equals the price V at the optimal depth; the third the depth, real and rounded,
    over the price.

    Args:
        names: readers' names of the groups.
        sensitivities: s_n = G_n^2 S_n^2 > 0 of each group.
        log2_price: log2 V, the common slope of all groups.

    Raises:
        RadioError: names and sensitivities do not match, or a number is out of range.
    """
    _check(names, sensitivities, log2_price)
    s = np.asarray(sensitivities, dtype=np.float64)
    real = depths_at_price(torch.from_numpy(s), log2_price).numpy()
    with mpl.rc_context(STYLE):
        figure = new_figure(3 * PANEL_HEIGHT_IN)
        above, middle, below = figure.subplots(3, 1)
        curves = _over_depth(above, s, real, "Distortion dₙ")
        _over_depth(middle, SLOPE * s, real, "Slope −d′ₙ")
        above.sharex(middle)
        above.tick_params(labelbottom=False)
        middle.set_xlabel("Depth Bₙ (bits per weight)")
        middle.axhline(2.0**log2_price, label="price", **PRICE)
        middle.annotate(
            "price V",
            (1, 2.0**log2_price),
            xycoords=("axes fraction", "data"),
            xytext=(0, 2),
            textcoords="offset points",
            ha="right",
            color=GREY,
        )
        _legend(middle)
        marks = _over_price(below, s, real, log2_price)
        figure.draw_without_rendering()
        direct_labels(above, list(zip(names, curves, strict=True)))
        words = [f"{depth:.2f} → {round(depth)}" for depth in real.tolist()]
        direct_labels(below, list(zip(words, marks, strict=True)))
    return figure


def _check(names: Sequence[str], sensitivities: Sequence[float], log2_price: float) -> None:
    if not names or len(set(names)) != len(names) or len(names) != len(sensitivities):
        raise RadioError(
            f"figure.draw.layers={list(names)} must have one distinct name for each of the "
            f"{len(sensitivities)} sensitivities, and at least one"
        )
    if len(names) > len(COLOURS):
        raise RadioError(f"{len(names)} names exceed the {len(COLOURS)} colours: draw fewer groups")
    for name, sensitivity in zip(names, sensitivities, strict=True):
        if not (sensitivity > 0 and math.isfinite(sensitivity)):
            raise RadioError(
                f"the sensitivity {sensitivity} of {name} has no logarithm: choose a group with a "
                "positive finite sensitivity"
            )
    if not math.isfinite(log2_price):
        raise RadioError(f"log2_price={log2_price} is not finite: give the price of an allocation")


def _over_depth(axes: Axes, at_zero: np.ndarray, real: np.ndarray, label: str) -> list[Line2D]:
    """Draw at_zero 2^(-2B), with the real and the rounded depths; return the curves."""
    depths = np.linspace(0, MAX_BITS, 65)
    curves = []
    for colour, start, depth in zip(COLOURS, at_zero, real, strict=False):
        curves += axes.plot(depths, start * np.exp2(-2 * depths), color=colour)
        for marks, at in ((OPTIMUM, depth), (ROUNDED, np.round(depth))):
            axes.plot([at], [start * np.exp2(-2 * at)], color=colour, **marks)
    axes.set_yscale("log", base=2)
    axes.set_ylabel(label)
    axes.xaxis.set_major_locator(MultipleLocator(1))
    horizontal_grid(axes)
    return curves


def _over_price(axes: Axes, s: np.ndarray, real: np.ndarray, log2_price: float) -> list[Line2D]:
    """Draw depths over the prices at which some group is between no bits and all bits.

    Returns:
        The marks of the optima.
    """
    highest, lowest = np.log2(SLOPE * s.max()), np.log2(SLOPE * s.min()) - 2 * MAX_BITS
    log2_prices = np.linspace(min(lowest, log2_price) - 1, max(highest, log2_price) + 1, 1001)
    optima = []
    for colour, group, depth in zip(COLOURS, s, real, strict=False):
        depths = np.clip(0.5 * (np.log2(SLOPE * group) - log2_prices), 0, MAX_BITS)
        axes.plot(np.exp2(log2_prices), depths, color=colour, linewidth=0.6, alpha=0.6)
        axes.plot(np.exp2(log2_prices), np.round(depths), color=colour)
        axes.plot([2.0**log2_price], [np.round(depth)], color=colour, **ROUNDED)
        optima += axes.plot([2.0**log2_price], [depth], color=colour, **OPTIMUM)
    axes.axvline(2.0**log2_price, label="price", **PRICE)
    axes.set_xscale("log", base=2)
    axes.set_xlabel("Price V")
    axes.set_ylabel("Depth Bₙ (bits)")
    axes.yaxis.set_major_locator(MultipleLocator(2))
    horizontal_grid(axes)
    return optima


def _legend(axes: Axes) -> None:
    """Explain the marks at the right of the panel."""
    handles = [
        Line2D([], [], color=GREY, label=label, **marks)
        for label, marks in (("optimum", OPTIMUM), ("rounded", ROUNDED))
    ]
    axes.legend(
        handles=handles,
        loc="center left",
        bbox_to_anchor=(1.0, 0.5),
        frameon=False,
        handletextpad=0.2,
    )
