"""The Markdown table shows what the CSV holds, and says what its numbers are."""

import re

import pytest

from radio.report import markdown
from radio.report.table import build_table
from radio.runtime.errors import RadioError
from tests.report.conftest import CELLS, write_evaluation


def render(table, **changes):
    settings = {
        "method_labels": {"rtn": "RTN, per row"},
        "model_labels": {"smollm2-135m": "SmolLM2-135M"},
        "text_labels": {},
        "model_notes": {"smollm2-135m": "The weights lie on a 4-bit lattice."},
    }
    return markdown.render(table, "A title", **(settings | changes))


def cells(document):
    """The table of a document as a list of dictionaries."""
    lines = [line.strip("| ").split(" | ") for line in document.splitlines() if line[:1] == "|"]
    header, _, *rows = lines
    return [dict(zip(header, row, strict=True)) for row in rows]


def number(cell):
    """The number in front of an error, and the unit of its last digit."""
    digits = cell.split(" ± ")[0].replace("−", "-")
    return float(digits), 10.0 ** -len(digits.partition(".")[2])


def test_every_number_is_the_tables_rounded(evaluations):
    table = build_table(evaluations)
    shown = {
        "Bits, depth": table.bits_paper,
        "Bits, true": table.bits_true,
        "Size, MB": table.size_bytes.astype(float) / 1e6,
        "Perplexity": table.perplexity,
        "Increase over FP16": table.perplexity_increase,
        "KL, nats/token": table.kl,
        "Same top token, %": table.top1_agreement * 100,
        "Time, s": table.wall_s,
    }
    rows = cells(render(table))
    assert len(rows) == len(CELLS)
    for heading, values in shown.items():
        for row, value in zip(rows, values, strict=True):
            found, unit = number(row[heading])
            assert abs(found - value) <= unit / 2 * 1.0001, (heading, row)
            # rounded, but not away
            assert value == 0 or abs(found / value - 1) < 0.02, (heading, row)


def test_errors_are_shown(evaluations):
    table = build_table(evaluations)
    row = cells(render(table))[3]
    assert row["KL, nats/token"] == "0.1390 ± 0.0021"
    assert row["Perplexity"] == "38.2 ± 1.1"


def test_words(evaluations):
    document = render(build_table(evaluations))
    assert document.startswith("### A title\n")
    assert cells(document)[1]["Method"] == "RTN, per row"
    assert cells(document)[3]["Method"] == "radio"
    assert "SmolLM2-135M: The weights lie on a 4-bit lattice." in document
    assert "wikipedia: wikipedia-test/512x40." in document


def test_a_missing_cell_says_why(evaluations):
    evaluations[1].unlink()
    row = cells(render(build_table(evaluations)))[1]
    assert row["Note"].startswith("not run: ")
    assert row["Bits, depth"] == "4 asked"
    assert {row[name] for name in ("Perplexity", "KL, nats/token", "Bits, true")} == {"—"}


def test_empty_columns_are_left_out(evaluations):
    assert {"Note", "Paper", "Ours − paper"}.isdisjoint(cells(render(build_table(evaluations)))[0])


def test_ours_stands_beside_the_papers(evaluations):
    table = build_table(evaluations)
    table["perplexity_paper"] = table.perplexity + 1.25
    table["perplexity_difference"] = -1.25
    row = cells(render(table))[3]
    assert (row["Paper"], row["Ours − paper"]) == ("39.45", "−1.25")


def test_a_bar_in_a_word_breaks_no_row(evaluations):
    rows = cells(render(build_table(evaluations), method_labels={"rtn": "a|b"}))
    assert rows[1]["Method"] == r"a\|b"


def test_provenance_names_each_device_and_version_once(evaluations, tmp_path):
    missing = tmp_path / "m" / "evaluation" / "rtn" / "2" / "wikipedia.json"
    assert markdown.provenance([*evaluations, missing]) == [
        "Measured on A processor, 2 threads with torch 2.13.0, transformers 5.23.0 "
        "at commit 0123abc."
    ]
    assert markdown.provenance([missing]) == []


def test_the_readmes_block_is_replaced_and_nothing_else(tmp_path):
    readme, out = tmp_path / "README.md", tmp_path / "table.md"
    readme.write_text("# A\n\n<!-- results:begin -->\nold\n<!-- results:end -->\n\n## B\n")
    for _ in range(2):
        markdown.save("new\n", out, str(readme))
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
def test_a_readme_without_the_block_is_left_alone(tmp_path, text):
    readme = tmp_path / "README.md"
    readme.write_text(text)
    with pytest.raises(RadioError, match=re.escape("<!-- results:begin -->")):
        markdown.save("new\n", tmp_path / "table.md", str(readme))
    assert readme.read_text() == text
    assert not (tmp_path / "table.md").exists()


def test_an_absent_readme_is_one_sentence(tmp_path):
    with pytest.raises(RadioError, match="does not exist"):
        markdown.save("new\n", tmp_path / "table.md", str(tmp_path / "README.md"))


def test_two_protocols_of_a_text_are_both_named(tmp_path):
    paths = [
        write_evaluation(tmp_path, model, "c4", CELLS[3], protocol)
        for model, protocol in (("a", "c4-test/2048x256"), ("b", "c4-test/2048x250"))
    ]
    assert "c4: c4-test/2048x256 / c4-test/2048x250." in render(build_table(paths))


def test_targets_and_seeds_have_columns_where_there_are_any(evaluations):
    table = build_table(evaluations)
    assert {"Asked", "Seeds"}.isdisjoint(cells(render(table))[0])
    table.loc[3, ["asked", "loss_validation"]] = ["kl=0.15", 0.1479]
    table.loc[3, ["seeds", "kl_spread"]] = [3, 0.0042]
    row = cells(render(table))[3]
    assert (row["Asked"], row["Met on validation"]) == ("kl=0.15", "0.1479")
    assert (row["Seeds"], row["KL, deviation over seeds"]) == ("3", "0.0042")
