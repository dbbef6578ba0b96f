"""Labels do not overlap, ticks are legible, and equal figures give equal files."""

import itertools
import math

import matplotlib as mpl
import pytest

from radio.report.figures.style import (
    COLOURS,
    MARKERS,
    STYLE,
    direct_labels,
    logarithmic,
    new_figure,
    spread,
)
from tests.report.figures.conftest import tick_boxes


def test_spread_keeps_the_order_the_distance_and_the_middle():
    heights, sizes = [5.0, 5.1, 5.2, 50.0], [10.0, 20.0, 10.0, 10.0]
    placed = spread(heights, sizes)
    assert placed[3] == 50.0
    for low, high, one, other in zip(placed, placed[1:], sizes, sizes[1:], strict=False):
        assert high - low >= (one + other) / 2 - 1e-9
    assert sum(placed[:3]) == pytest.approx(sum(heights[:3]))


@pytest.mark.parametrize("heights", [[0.0, 1.0, 2.0, 90.0], [99.0, 98.0, 97.0, 50.0], [50.0] * 4])
@pytest.mark.parametrize("top", [100.0, 60.0])
def test_spread_keeps_within_its_limits(heights, top):
    """At a height of 60 there is no spare room."""
    sizes = [10.0, 20.0, 10.0, 20.0]
    placed = spread(heights, sizes, (0.0, top))
    edges = sorted((c - s / 2, c + s / 2) for c, s in zip(placed, sizes, strict=True))
    assert edges[0][0] >= -1e-9
    assert edges[-1][1] <= top + 1e-9
    assert all(one[1] <= other[0] + 1e-9 for one, other in itertools.pairwise(edges))


def test_colours_and_markers_repeat_late():
    """A cycle through colours and markers has every pair once."""
    assert math.gcd(len(COLOURS), len(MARKERS)) == 1


@pytest.mark.parametrize("limits", [(25.0, 38.0), (20.0, 90.0), (1.0, 600.0), (1e-5, 1e7)])
def test_a_logarithmic_axis_has_room_for_its_numbers(limits):
    with mpl.rc_context(STYLE):
        figure = new_figure(2.0)
        axes = figure.subplots()
        axes.plot([0, 1], limits)
        axes.set_ylim(*limits)
        logarithmic(axes)
        figure.draw_without_rendering()
    assert axes.get_ylim() == limits
    shown = tick_boxes(axes.yaxis)
    assert len(shown) >= 3
    assert all(one.y1 <= other.y0 for one, other in itertools.pairwise(shown))


def test_a_label_points_at_the_last_finite_point():
    with mpl.rc_context(STYLE):
        figure = new_figure(2.0)
        axes = figure.subplots()
        (line,) = axes.plot([0, 1, 2], [1.0, 3.0, math.nan])
        figure.draw_without_rendering()
        direct_labels(axes, [("run", line)])
    assert [(text.get_text(), text.xy) for text in axes.texts] == [("run", (1.0, 3.0))]
