"""Marks lie where the slope equals the price, and at the rounded depths."""

import math

import numpy as np
import pytest

from radio.report.figures.optimal_depths import optimal_depths
from radio.runtime.errors import RadioError
from tests.report.figures.conftest import (
    assert_equal_bytes,
    assert_half_a_page_without_overlaps,
    texts,
)

NAMES, SENSITIVITIES, LOG2_PRICE = ["q_proj", "fc2"], [0.9, 0.011], -9.3


def draw():
    return optimal_depths(NAMES, SENSITIVITIES, LOG2_PRICE)


def marked(axes, marker):
    return [line.get_xydata()[0].tolist() for line in axes.lines if line.get_marker() == marker]


def curves(axes):
    return [line.get_xydata() for line in axes.lines if len(line.get_xydata()) > 2]


def test_curves_are_the_distortion_and_its_derivative():
    above, middle, _ = draw().axes
    for s, distortion, slope in zip(SENSITIVITIES, curves(above), curves(middle), strict=True):
        depth = distortion[:, 0]
        assert distortion[:, 1] == pytest.approx(s * 4**-depth)
        # central differences over an eighth of a bit: (step ln 4)^2 / 6 off
        numeric = -np.gradient(distortion[:, 1], depth)[1:-1]
        assert slope[1:-1, 1] == pytest.approx(numeric, rel=0.01)


def test_optima_lie_on_the_price_and_squares_at_integers():
    above, middle, below = draw().axes
    for (depth, slope), (rounded, _) in zip(marked(middle, "o"), marked(middle, "s"), strict=True):
        assert slope == pytest.approx(2**LOG2_PRICE)
        assert rounded == round(depth)
    for s, (depth, distortion) in zip(SENSITIVITIES, marked(above, "o"), strict=True):
        assert distortion == pytest.approx(s * 4**-depth)
    assert [y for _, y in marked(below, "o")] == [x for x, _ in marked(middle, "o")]
    assert {x for x, _ in marked(below, "o")} == {2**LOG2_PRICE}
    assert (middle.lines[-1].get_label(), below.lines[-1].get_label()) == ("price", "price")
    assert middle.lines[-1].get_ydata() == pytest.approx([2**LOG2_PRICE] * 2)


def test_depth_over_price_spans_zero_to_all_bits():
    *_, below = draw().axes
    real, rounded = curves(below)[:2]
    assert rounded[:, 1] == pytest.approx(np.round(real[:, 1]))
    for curve in curves(below):
        assert (curve[:, 1].min(), curve[:, 1].max()) == (0, 8)
        assert (np.diff(curve[:, 1]) <= 0).all()


def test_clamped_depths_are_marked_at_the_clamp():
    _, middle, _ = optimal_depths(["much", "little"], [1e9, 1e-9], 0.0).axes
    assert [depth for depth, _ in marked(middle, "o")] == [8, 0]


def test_groups_and_depths_are_named():
    above, middle, below = draw().axes
    assert texts(above) == NAMES
    assert texts(middle) == ["price V"]
    depths = [0.5 * (math.log2(2 * math.log(2) * s) - LOG2_PRICE) for s in SENSITIVITIES]
    assert texts(below) == [f"{depth:.2f} → {round(depth)}" for depth in depths]
    assert [text.get_text() for text in middle.get_legend().get_texts()] == ["optimum", "rounded"]


@pytest.mark.parametrize("count", [1, 2, 8])
def test_it_is_legible(count):
    names = [f"block {index}" for index in range(count)]
    figure = optimal_depths(names, [4.0**-index for index in range(count)], LOG2_PRICE)
    assert_half_a_page_without_overlaps(figure)


def test_equal_arguments_give_equal_bytes(tmp_path):
    assert_equal_bytes(draw, tmp_path)


@pytest.mark.parametrize(
    "names, sensitivities, log2_price, message",
    [
        ([], [], 0.0, "at least one"),
        (["a"], [1.0, 2.0], 0.0, "one distinct name"),
        (["a", "a"], [1.0, 2.0], 0.0, "one distinct name"),
        (list("abcdefghi"), [1.0] * 9, 0.0, "9 names"),
        (["a"], [0.0], 0.0, "sensitivity 0.0 of a"),
        (["a"], [math.nan], 0.0, "sensitivity nan of a"),
        (["a"], [1.0], -math.inf, "log2_price=-inf"),
    ],
)
def test_groups_without_an_optimum_are_refused(names, sensitivities, log2_price, message):
    with pytest.raises(RadioError, match=message):
        optimal_depths(names, sensitivities, log2_price)
