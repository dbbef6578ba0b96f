"""Curves are the traces, without the iterations that were not evaluated."""

import math

import pytest

from radio.report.figures.iterations import Trace, iterations
from radio.report.figures.style import COLOURS
from radio.runtime.errors import RadioError
from tests.report.figures.conftest import (
    assert_equal_bytes,
    assert_half_a_page_without_overlaps,
    texts,
)


def points(start, end, every=1):
    """Return thirty iterations whose loss falls from start to end, with gaps."""
    return [
        {"iteration": i, "perplexity": value, "kl": value and math.log(value / 20)}
        for i in range(1, 31)
        for value in [end + (start - end) * math.exp(-i / 4) if i % every == 0 else None]
    ]


C4 = Trace("C4", COLOURS[0], points(60, 27.0), reference=26.5)
WIKITEXT2 = Trace("WikiText2", COLOURS[1], points(70, 28.0, every=3), reference=27.65)


def draw():
    return iterations([C4, WIKITEXT2], "perplexity")


@pytest.mark.parametrize("quantity", ["perplexity", "kl"])
def test_curves_are_the_measured_values(quantity):
    (axes,) = iterations([C4, WIKITEXT2], quantity).axes
    for line, trace in zip(axes.lines[:2], (C4, WIKITEXT2), strict=True):
        measured = [p for p in trace.points if p[quantity] is not None]
        assert line.get_xydata().tolist() == [[p["iteration"], p[quantity]] for p in measured]
        assert line.get_color() == trace.colour
    assert axes.get_yscale() == "log"
    assert axes.get_xlabel() == "Iteration"


def test_order_and_numbers_without_logarithm_do_not_matter():
    mixed = [{"iteration": 3, "kl": 0.1}, {"iteration": 1, "kl": 0.5}, {"iteration": 2}]
    mixed += [{"iteration": 4, "kl": math.nan}, {"iteration": 5, "kl": 0.0}]
    (axes,) = iterations([Trace("run", "k", mixed)], "kl").axes
    assert axes.lines[0].get_xydata().tolist() == [[1, 0.5], [3, 0.1]]
    assert len(axes.lines) == 1


def test_each_full_precision_value_is_a_line():
    (axes,) = draw().axes
    lines = [line for line in axes.lines if line.get_label() == "reference"]
    assert [line.get_ydata()[0] for line in lines] == [26.5, 27.65]
    assert [line.get_color() for line in lines] == [C4.colour, WIKITEXT2.colour]
    assert texts(axes) == ["C4", "WikiText2", "FP16, 26.50", "FP16, 27.65"]
    assert axes.get_ylim()[0] < 26.5


def test_a_common_full_precision_line_is_drawn_once():
    runs = [Trace(f"{b} bits", COLOURS[b], points(60, 30 - b), reference=25.0) for b in (3, 4)]
    (axes,) = iterations(runs, "perplexity").axes
    assert texts(axes) == ["3 bits", "4 bits", "FP16, 25.00"]
    assert [line.get_label() for line in axes.lines].count("reference") == 1


def test_it_is_legible_with_eight_runs():
    runs = [Trace(f"group size {i}", c, points(50, 27 + i / 99)) for i, c in enumerate(COLOURS)]
    assert_half_a_page_without_overlaps(iterations(runs, "perplexity"))
    assert_half_a_page_without_overlaps(draw())


def test_equal_traces_give_equal_bytes(tmp_path):
    assert_equal_bytes(draw, tmp_path)


@pytest.mark.parametrize(
    "traces, quantity, message",
    [
        ([], "kl", "at least one trace"),
        ([C4, C4], "kl", "distinct labels"),
        (
            [Trace("run", "k", [{"iteration": 1, "kl": None}])],
            "kl",
            "run has no positive finite kl",
        ),
        ([Trace("run", "k", [{"kl": 0.1}])], "kl", "has no iteration"),
        ([Trace("run", "k", C4.points, reference=0.0)], "kl", "reference=0.0"),
    ],
)
def test_nothing_to_draw_is_one_sentence(traces, quantity, message):
    with pytest.raises(RadioError, match=message):
        iterations(traces, quantity)
