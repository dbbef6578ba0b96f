"""The figure shows every method's points, errors and name, legibly and always alike."""

import itertools

import pytest
from matplotlib.text import Annotation, Text

from radio.report.figure import PNG_DPI, rate_distortion, save_figure, spread
from radio.report.table import build_table
from radio.runtime.errors import RadioError
from tests.report.conftest import CELLS, FP16, write_evaluation

LABELS = {"rtn": "RTN, per row", "radio": "Radio"}


def draw(table):
    return rate_distortion(
        table, method_labels=LABELS, model_labels={}, text_labels={"wikipedia": "Wikipedia"}
    )


@pytest.fixture
def figure(evaluations):
    return draw(build_table(evaluations))


def words(axes):
    return [text for text in axes.texts if isinstance(text, Annotation)]


def test_axes_say_what_they_are(figure):
    above, below = figure.axes
    assert above.get_title(loc="left") == "smollm2-135m, Wikipedia"
    assert above.get_ylabel() == "KL divergence (nats per token)"
    assert below.get_ylabel() == "Perplexity per token"
    assert below.get_xlabel() == "True rate (bits per quantized weight)"
    assert above.get_yscale() == below.get_yscale() == "log"


def test_points_and_errors_are_the_tables(figure):
    rtn = sorted(cell[2:] for cell in CELLS if cell[0] == "rtn")
    for axes, column, share in zip(figure.axes, (2, 1), (0.015, 0.01), strict=True):
        assert [bars.get_label() for bars in axes.containers] == ["rtn", "radio"]
        line, _, (stems,) = axes.containers[0].lines
        assert line.get_xydata().tolist() == [[cell[0], cell[column]] for cell in rtn]
        for (_, low), (_, high) in stems.get_segments():
            middle = (low + high) / 2
            loss = middle if column == 2 else middle - FP16
            assert (high - low) / 2 == pytest.approx(share * loss, rel=1e-6)


def test_the_reference_is_a_line_not_a_point(figure):
    _, below = figure.axes
    (line,) = [line for line in below.lines if line.get_label() == "reference"]
    assert line.get_ydata() == pytest.approx([FP16, FP16])
    assert [text.get_text() for text in words(below)] == ["FP16, 33.9"]
    assert below.get_ylim()[0] < FP16 < below.get_ylim()[1]


def test_methods_differ_in_colour_and_in_marker(figure):
    for axes in figure.axes:
        lines = [bars.lines[0] for bars in axes.containers]
        assert len({line.get_color() for line in lines}) == len(lines)
        assert len({line.get_marker() for line in lines}) == len(lines)
    # and are the same in both panels
    looks = [[bars.lines[0].get_color() for bars in axes.containers] for axes in figure.axes]
    assert looks[0] == looks[1]


def test_labels_name_the_curves_and_overlap_nothing(tmp_path):
    """Even where all curves end in one point, with as many methods as there are colours."""
    cells = [
        (f"method{index}", rate, float(rate) + 0.05, 40.0 + index / 99, kl + index / 999)
        for index in range(7)
        for rate, kl in (("3", 3.0), ("4", 0.2))
    ]
    paths = [write_evaluation(tmp_path, "m", "wikipedia", cell) for cell in cells]
    figure = draw(build_table(paths))
    figure.draw_without_rendering()
    above, _ = figure.axes
    boxes = [Text.get_window_extent(text) for text in words(above)]  # less the leader line
    assert sorted(text.get_text() for text in words(above)) == sorted({c[0] for c in cells})
    for one, other in itertools.combinations(boxes, 2):
        assert not one.overlaps(other)
    for box in boxes:
        assert not box.overlaps(above.bbox)
        assert figure.bbox.x0 <= box.x0
        assert box.x1 <= figure.bbox.x1


def test_type_is_legible_at_half_a_page(figure):
    width, _ = figure.get_size_inches()
    assert width <= 3.5
    texts = [text for axes in figure.axes for text in (*words(axes), axes.xaxis.label)]
    assert min(text.get_fontsize() for text in texts) >= 7
    assert PNG_DPI >= 200


def test_a_panel_for_each_model_and_text(tmp_path):
    paths = [
        write_evaluation(tmp_path, model, text, cell)
        for model, text in (("a", "wikipedia"), ("a", "c4"), ("b", "c4"))
        for cell in CELLS
    ]
    titles = [axes.get_title(loc="left") for axes in draw(build_table(paths)).axes[:3]]
    assert titles == ["a, Wikipedia", "a, c4", "b, c4"]


def test_missing_and_lossless_cells_are_left_out(evaluations, tmp_path):
    evaluations[1].unlink()
    lossless = ("exact", "4", 4.5, FP16, 0.0)
    evaluations.append(write_evaluation(tmp_path, "smollm2-135m", "wikipedia", lossless))
    above, _ = draw(build_table(evaluations)).axes
    assert [len(bars.lines[0].get_xydata()) for bars in above.containers] == [1, 2]


def test_nothing_to_draw_is_one_sentence(evaluations):
    with pytest.raises(RadioError, match="nothing to draw: run its evaluations first"):
        draw(build_table(evaluations[:1]))


def test_equal_tables_give_equal_bytes(evaluations, tmp_path):
    for name in ("one", "two"):
        save_figure(draw(build_table(evaluations)), tmp_path / f"{name}.png")
    for suffix in (".png", ".pdf"):
        one, two = (tmp_path / f"{name}{suffix}" for name in ("one", "two"))
        assert one.read_bytes() == two.read_bytes()
        assert b"CreationDate" not in one.read_bytes()
    assert (tmp_path / "one.png").read_bytes()[:4] == b"\x89PNG"
    assert (tmp_path / "one.pdf").read_bytes()[:4] == b"%PDF"


def test_spread_keeps_the_order_the_distance_and_the_middle():
    heights, sizes = [5.0, 5.1, 5.2, 50.0], [10.0, 20.0, 10.0, 10.0]
    placed = spread(heights, sizes)
    assert placed[3] == 50.0
    for low, high, one, other in zip(placed, placed[1:], sizes, sizes[1:], strict=False):
        assert high - low >= (one + other) / 2 - 1e-9
    assert sum(placed[:3]) == pytest.approx(sum(heights[:3]))
