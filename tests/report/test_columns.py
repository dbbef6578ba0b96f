"""The Markdown table has the rounded numbers of the CSV file, with labels and units."""

from radio.report.columns import Annotations, evaluations_markdown
from radio.report.table import build_table
from tests.report.conftest import CELLS, write_evaluation


def render(table, **changes):
    annotations = {
        "methods": {"rtn": "RTN, per row"},
        "models": {"smollm2-135m": "SmolLM2-135M"},
        "notes": {"smollm2-135m": "The weights lie on a 4-bit lattice."},
    }
    return evaluations_markdown(table, Annotations("A title", **(annotations | changes)))


def cells(document):
    """Return the table of a document as a list of dictionaries."""
    lines = [line.strip("| ").split(" | ") for line in document.splitlines() if line[:1] == "|"]
    header, _, *rows = lines
    return [dict(zip(header, row, strict=True)) for row in rows]


def number(cell):
    """Return the number in front of an error, and the unit of its last digit."""
    digits = cell.split(" ± ")[0].replace("−", "-")
    return float(digits), 10.0 ** -len(digits.partition(".")[2])


def test_every_number_is_a_rounded_number_of_the_table(evaluations):
    table = build_table(evaluations)
    shown = {
        "Mean depth": table.mean_depth,
        "bpw": table.bpw,
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
            shown_value, unit = number(row[heading])
            assert abs(shown_value - value) <= unit / 2 * 1.0001, (heading, row)
            # rounded, but not away
            assert value == 0 or abs(shown_value / value - 1) < 0.02, (heading, row)


def test_errors_are_shown(evaluations):
    table = build_table(evaluations)
    row = cells(render(table))[3]
    assert row["KL, nats/token"] == "0.1390 ± 0.0021"
    assert row["Perplexity"] == "38.2 ± 1.1"


def test_title_labels_caveats_and_protocols_are_shown(evaluations):
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
    assert row["Mean depth"] == "4 requested"
    assert {row[name] for name in ("Perplexity", "KL, nats/token", "bpw")} == {"—"}


def test_empty_columns_are_left_out(evaluations):
    assert {"Note", "Paper", "Ours − paper"}.isdisjoint(cells(render(build_table(evaluations)))[0])


def test_the_papers_value_and_the_difference_are_shown(evaluations):
    table = build_table(evaluations)
    table["perplexity_paper"] = table.perplexity + 1.25
    table["perplexity_difference"] = -1.25
    row = cells(render(table))[3]
    assert (row["Paper"], row["Ours − paper"]) == ("39.45", "−1.25")


def test_a_vertical_bar_is_escaped(evaluations):
    rows = cells(render(build_table(evaluations), methods={"rtn": "a|b"}))
    assert rows[1]["Method"] == r"a\|b"


def test_all_protocols_of_a_text_are_named(tmp_path):
    paths = [
        write_evaluation(tmp_path, model, "c4", CELLS[3], protocol)
        for model, protocol in (("a", "c4-test/2048x256"), ("b", "c4-test/2048x250"))
    ]
    assert "c4: c4-test/2048x256 / c4-test/2048x250." in render(build_table(paths))


def test_targets_and_seeds_have_columns_if_a_row_has_them(evaluations):
    table = build_table(evaluations)
    assert {"Target", "Seeds"}.isdisjoint(cells(render(table))[0])
    table.loc[3, ["asked", "loss_validation"]] = ["kl=0.15", 0.1479]
    table.loc[3, ["seeds", "kl_spread"]] = [3, 0.0042]
    row = cells(render(table))[3]
    assert (row["Target"], row["Achieved (validation)"]) == ("kl=0.15", "0.1479")
    assert (row["Seeds"], row["KL, std. over seeds"]) == ("3", "0.0042")


def test_a_caveat_shared_by_models_appears_once_without_names(evaluations):
    document = render(build_table(evaluations), notes={"a": "Random.", "b": "Random.", "c": "Old."})
    assert "\nRandom.  \nc: Old.  \n" in document
