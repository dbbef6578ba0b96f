import pytest

from radio.report.figures.scaling import scaling
from radio.report.scaling import build_scaling_table
from radio.runtime.errors import RadioError
from tests.report.figures.conftest import (
    assert_equal_bytes,
    assert_half_a_page_without_overlaps,
    texts,
)
from tests.report.test_scaling import PAPER, rows, written


@pytest.fixture
def table(tmp_path):
    return build_scaling_table(written(tmp_path), ["calibrate", "quantize"], PAPER)


def test_every_stage_is_labelled_with_its_exponent(table):
    above, below = scaling(table, "A100").axes
    assert "calibrate, $n^{1.50}$" in texts(above)
    assert texts(above)[-1] == "paper, A100, $n^{1.14}$"
    assert texts(below) == ["prepare", "calibrate", "quantize", "weights on disk"]
    line = above.lines[1]
    assert line.get_xdata() == pytest.approx([1e8, 1e9, 1e10])
    assert line.get_ydata() == pytest.approx([1e-9 * size**1.5 for size in (1e8, 1e9, 1e10)])
    assert below.lines[-1].get_ydata() == pytest.approx([0.2, 2, 20])


@pytest.mark.parametrize("models", [["small"], ["small", "middle"], ["small", "middle", "large"]])
def test_labels_do_not_overlap(tmp_path, models):
    written(tmp_path)
    table = build_scaling_table(rows(tmp_path, models), ["calibrate", "quantize"], PAPER)
    assert_half_a_page_without_overlaps(scaling(table, "A100"))


def test_equal_tables_give_equal_bytes(table, tmp_path):
    assert_equal_bytes(lambda: scaling(table, "A100"), tmp_path)


def test_nothing_to_draw_is_one_sentence(tmp_path):
    table = build_scaling_table(rows(tmp_path), ["calibrate"], PAPER)
    with pytest.raises(RadioError, match="no times of its stages"):
        scaling(table, "A100")
