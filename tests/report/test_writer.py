"""Tables as Markdown and HTML, and the block of results in the README."""

import re

import pytest

from radio.report.writer import (
    Column,
    Footnotes,
    Section,
    estimate_column,
    html_table,
    markdown,
    number_column,
    save_document,
    text_column,
)
from radio.runtime.errors import RadioError

ROWS = [
    {"name": "a|b", "size": 2e6, "kl": 0.139, "kl_se": 0.0021, "other": None, "note": "x; only"},
    {"name": "<c>", "size": None, "kl": None, "kl_se": None, "other": None, "note": "x"},
]


def columns(*more):
    return [
        text_column("Name", "name", {"<c>": "C & D"}),
        number_column("MB", "size", 1, scale=1e-6),
        estimate_column("KL", "kl"),
        number_column("Absent", "other", 1),
        *more,
    ]


def test_markdown_has_units_errors_footnotes_and_only_columns_with_values():
    footnotes = Footnotes(row["note"] for row in ROWS)
    sections = [Section(ROWS, columns(footnotes.column), "Part")]
    assert markdown("Title", sections, [*footnotes.lines, "Caption."]) == (
        "### Title\n\n#### Part\n\n"
        "| Name | MB | KL | Note |\n|---|--:|--:|---|\n"
        "| a\\|b | 2.0 | 0.1390 ± 0.0021 | [1]; only |\n"
        "| C & D | — | — | [1] |\n\n"
        "[1] x  \nCaption.  \n"
    )


def test_html_escapes_and_marks_numbers_and_verdicts():
    verdict = Column("Verdict", lambda _: "not run", "verdict")
    html = html_table(ROWS, [*columns()[:2], verdict])
    head = "<thead><tr><th>Name</th><th>MB</th><th>Verdict</th></tr></thead>"
    assert html.startswith(f"<table>{head}")
    row = '<tr><td>a|b</td><td class="number">2.0</td><td class="not-run">not run</td></tr>'
    assert row in html
    assert "<td>C &amp; D</td>" in html


def test_only_the_readmes_block_of_results_is_replaced(tmp_path):
    readme, out = tmp_path / "README.md", tmp_path / "table.md"
    readme.write_text("# A\n\n<!-- results:begin -->\nold\n<!-- results:end -->\n\n## B\n")
    for _ in range(2):
        save_document("new\n", out, str(readme))
    assert out.read_text() == "new\n"
    assert readme.read_text() == (
        "# A\n\n<!-- results:begin -->\nnew\n<!-- results:end -->\n\n## B\n"
    )


@pytest.mark.parametrize(
    "text",
    [
        "nothing",
        "<!-- results:begin --> only",
        "<!-- results:end --> <!-- results:begin -->",
        "<!-- results:begin --> <!-- results:begin --> <!-- results:end -->",
    ],
)
def test_a_readme_without_the_block_is_not_changed(tmp_path, text):
    readme = tmp_path / "README.md"
    readme.write_text(text)
    with pytest.raises(RadioError, match=re.escape("<!-- results:begin -->")):
        save_document("new\n", tmp_path / "table.md", str(readme))
    assert readme.read_text() == text
    assert not (tmp_path / "table.md").exists()


def test_an_absent_readme_is_one_sentence(tmp_path):
    with pytest.raises(RadioError, match="does not exist"):
        save_document("new\n", tmp_path / "table.md", str(tmp_path / "README.md"))
