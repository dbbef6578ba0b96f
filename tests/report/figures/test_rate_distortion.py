"""The figure has every method's points, errors and label, legible and reproducible."""

import itertools

import pytest
from matplotlib.text import Annotation, Text

from radio.report.figures.rate_distortion import GUIDE_LABEL, RUINED, rate_distortion
from radio.report.figures.style import PNG_DPI, save_figure
from radio.report.table import build_table
from radio.runtime.errors import RadioError
from tests.report.conftest import CELLS, FP16, write_evaluation
from tests.report.figures.conftest import tick_boxes

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


def names(axes):
    """Return the labels of the curves."""
    return [text for text in words(axes) if text.get_text() != GUIDE_LABEL]


def guide_of(axes):
    (line,) = [line for line in axes.lines if line.get_label() == "guide"]
    return line


def many(folder, rates, count=8):
    """Return a table of `count` methods at `rates`, with curves close to each other."""
    cells = [
        (f"m{i}, groups of 128", f"{rate}", rate + 0.01 * i, FP16 + kl, kl)
        for i in range(count)
        for rate in rates
        for kl in [(1 + i / 9) * 4.0 ** (3 - rate) * (1 + 4 * max(0, 3 - rate))]
    ]
    return build_table([write_evaluation(folder, "m", "wikipedia", cell) for cell in cells])


def test_axes_have_labels(figure):
    above, below = figure.axes
    assert above.get_title(loc="left") == "smollm2-135m, Wikipedia"
    assert above.get_ylabel() == "KL divergence (nats per token)"
    assert below.get_ylabel() == "Perplexity per token"
    assert below.get_xlabel() == "True rate (bits per quantized weight)"
    assert above.get_yscale() == below.get_yscale() == "log"


def test_points_and_errors_are_those_of_the_table(figure):
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


@pytest.mark.parametrize("worst", [FP16 * 31, FP16 * 1000])
def test_a_ruined_model_does_not_flatten_the_others(evaluations, tmp_path, worst):
    """Its curve leaves the panel and keeps its values."""
    ruined = ("rtn", "2", 2.04, worst, 9.0)
    evaluations.append(write_evaluation(tmp_path, "smollm2-135m", "wikipedia", ruined))
    _, below = draw(build_table(evaluations)).axes
    low, high = below.get_ylim()
    assert low < FP16
    assert high == pytest.approx(RUINED * FP16) if worst > RUINED * FP16 else high > worst
    assert below.containers[0].lines[0].get_ydata()[0] == worst


def test_methods_differ_in_colour_and_in_marker(figure):
    for axes in figure.axes:
        lines = [bars.lines[0] for bars in axes.containers]
        assert len({line.get_color() for line in lines}) == len(lines)
        assert len({line.get_marker() for line in lines}) == len(lines)
    # and are the same in both panels
    looks = [[bars.lines[0].get_color() for bars in axes.containers] for axes in figure.axes]
    assert looks[0] == looks[1]


def test_labels_name_the_curves_without_overlap(tmp_path):
    """All curves end in one point, with as many methods as colours."""
    cells = [
        (f"method{index}", rate, float(rate) + 0.05, 40.0 + index / 99, kl + index / 999)
        for index in range(8)
        for rate, kl in (("3", 3.0), ("4", 0.2))
    ]
    paths = [write_evaluation(tmp_path, "m", "wikipedia", cell) for cell in cells]
    figure = draw(build_table(paths))
    figure.draw_without_rendering()
    above, _ = figure.axes
    boxes = [Text.get_window_extent(text) for text in names(above)]  # less the leader line
    assert sorted(text.get_text() for text in names(above)) == sorted({c[0] for c in cells})
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
    with pytest.raises(RadioError, match="run its evaluations first"):
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


@pytest.mark.parametrize(
    "rates", [(3.0, 4.0), (2.0, 2.25, 2.5, 2.75, 3.0, 3.5, 4.0, 5.0, 6.0, 8.0)]
)
def test_eight_methods_stay_legible(tmp_path, rates):
    """Labels, also with line breaks, and ticks neither overlap nor leave the figure."""
    figure = draw(many(tmp_path, rates))
    figure.draw_without_rendering()
    width, _ = figure.get_size_inches()
    assert width <= 3.5
    above, _ = figure.axes
    boxes = [Text.get_window_extent(text) for text in names(above)]
    assert len(boxes) == 8
    for one, other in itertools.combinations(boxes, 2):
        assert not one.overlaps(other)
    for box in boxes:
        assert not box.overlaps(above.bbox)
        assert figure.bbox.x0 <= box.x0 and box.x1 <= figure.bbox.x1
        assert figure.bbox.y0 <= box.y0 and box.y1 <= figure.bbox.y1
    for axis in (axis for axes in figure.axes for axis in (axes.xaxis, axes.yaxis)):
        ticks = tick_boxes(axis)
        assert len(ticks) >= 2 or axis is above.xaxis  # which the panel below has
        for one, other in itertools.combinations(ticks, 2):
            assert not one.overlaps(other)


def test_eight_methods_differ(tmp_path):
    above, _ = draw(many(tmp_path, (3.0,))).axes
    lines = [bars.lines[0] for bars in above.containers]
    assert len({line.get_color() for line in lines}) == 8
    assert len({line.get_marker() for line in lines}) == 8


def test_the_guide_falls_a_quarter_a_bit_through_the_end_of_the_lowest_curve(figure):
    above, below = figure.axes
    (left, high), (right, low) = guide_of(above).get_xydata()
    assert high / low == pytest.approx(4 ** (right - left))
    bits, kl = min((cell[2], cell[4]) for cell in CELLS if cell[0] == "radio" and cell[1] == "4")
    assert kl == pytest.approx(low * 4 ** (right - bits))
    assert [text.get_text() for text in words(above)].count("−6.02 dB/bit") == 1
    assert "guide" not in [line.get_label() for line in below.lines]


def test_the_guide_moves_no_limit(figure):
    """The points set the limits of the panel, not the guide."""
    above, _ = figure.axes
    top = max(cell[4] for cell in CELLS)
    assert above.get_ylim()[1] < 2 * top
    assert tuple(above.get_xlim()) == tuple(guide_of(above).get_xdata())


@pytest.mark.parametrize("rates", [(3.0, 4.0), (2.0, 2.5, 3.0, 4.0, 6.0, 8.0)])
def test_the_guides_label_crosses_no_curve(tmp_path, rates):
    figure = draw(many(tmp_path, rates))
    figure.draw_without_rendering()
    above, _ = figure.axes
    (label,) = [text for text in words(above) if text.get_text() == GUIDE_LABEL]
    box = label.get_window_extent()
    assert above.bbox.x0 <= box.x0 and box.x1 <= above.bbox.x1
    assert above.bbox.y0 <= box.y0 and box.y1 <= above.bbox.y1
    for line in [*(bars.lines[0] for bars in above.containers), guide_of(above)]:
        path = line.get_transform().transform_path(line.get_path())
        assert not path.intersects_bbox(box, filled=False)
