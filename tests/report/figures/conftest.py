"""Helpers that inspect figures."""

import itertools

from matplotlib.text import Text

from radio.report.figures.style import save_figure


def texts(axes):
    return [text.get_text() for text in axes.texts]


def tick_boxes(axis):
    """Return the positions of an axis's numbers, in their order."""
    low, high = sorted(axis.get_view_interval())
    which = "xy".index(axis.axis_name)
    return [
        label.get_window_extent()
        for label in axis.get_ticklabels()
        if label.get_visible() and low <= label.get_position()[which] <= high
    ]


def assert_half_a_page_without_overlaps(figure):
    """Check that all texts of the panels lie within the figure and do not overlap."""
    figure.draw_without_rendering()
    assert figure.get_size_inches()[0] <= 3.5
    boxes = [
        Text.get_window_extent(text)
        for axes in figure.findobj(lambda artist: hasattr(artist, "get_xlabel"))
        for text in (*axes.texts, axes.title, axes._left_title, axes._right_title)
        if text.get_text()
    ]
    for one, other in itertools.combinations(boxes, 2):
        assert not one.overlaps(other)
    for box in boxes:
        assert figure.bbox.x0 <= box.x0 and box.x1 <= figure.bbox.x1
        assert figure.bbox.y0 <= box.y0 and box.y1 <= figure.bbox.y1


def assert_equal_bytes(draw, folder):
    """Check that equal figures give equal files."""
    for name in ("one", "two"):
        save_figure(draw(), folder / f"{name}.png")
    for suffix in (".png", ".pdf"):
        one, two = (folder / f"{name}{suffix}" for name in ("one", "two"))
        assert one.read_bytes() == two.read_bytes()
