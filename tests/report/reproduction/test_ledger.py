"""The ledger: differences and verdicts in the paper's unit, and the page."""

import pytest

from radio.report.paper import load_paper_table
from radio.report.reproduction.cells import PaperCell
from radio.report.reproduction.ledger import COLUMNS, Comparison, OurValue, build_ledger
from radio.report.reproduction.page import page
from radio.runtime.compose import CONFIG
from tests.report.conftest import write_evaluation

TABLE1 = load_paper_table(CONFIG / "paper/table1_wikitext2.csv", "wikitext2-test/2048*")
TIMES = load_paper_table(
    CONFIG / "paper/table6_quantization_time_a100.csv", "*", "wall_s", bits=3.0
)
PROTOCOL = "wikitext2-test/2048x160"
CELL = PaperCell("table_1", 7, "perplexity", {"model": "opt-125m", "method": "radio"}, 27.23)
MINUTES = PaperCell("table_6", 0, "minutes", {"model": "llama2-7b", "method": "radio"}, 47.0)


def ours(value, **changes):
    return OurValue(
        **{
            "experiment": "table_opt",
            "model": "opt-125m",
            "method": "radio-paper",
            "rate_bits": 4.0,
            "value": value,
            "protocol": PROTOCOL,
        }
        | changes
    )


def row(*candidates, cell=CELL, paper=TABLE1, device=""):
    ledger = build_ledger(
        [cell], {cell.table: Comparison(paper, {(cell.row, cell.quantity): candidates}, device)}
    )
    assert tuple(ledger.columns) == COLUMNS
    return ledger.iloc[0]


@pytest.mark.parametrize(
    "value, verdict", [(27.5, "reproduced"), (27.51, "not reproduced"), (None, "not run")]
)
def test_the_verdict_is_by_the_tolerance(value, verdict):
    """1% of 27.23 is 0.2723."""
    ledger_row = row(ours(value, note="" if value else "not run: why"))
    assert ledger_row.verdict == verdict
    assert "below its FP16 (27.65)" in ledger_row.note
    if value:
        assert ledger_row.difference == pytest.approx(value - 27.23)
        assert ledger_row.tolerance == pytest.approx(0.2723)
    else:
        assert ledger_row.note.startswith("not run: why")


def test_the_spread_over_seeds_widens_the_tolerance():
    """The tolerance grows by two standard errors of a mean over four seeds."""
    ledger_row = row(ours(27.6, spread=0.2, seeds=4))
    assert ledger_row.tolerance == pytest.approx(0.2723 + 2 * 0.2 / 2)
    assert ledger_row.verdict == "reproduced"


def test_the_first_method_that_was_run_counts():
    ledger_row = row(ours(None), ours(27.3, method="radio"))
    assert (ledger_row.our_method, ledger_row.ours) == ("radio", 27.3)
    assert "ours is the fast mode" in ledger_row.note
    both = row(ours(27.4), ours(27.3, method="radio"))
    assert (both.our_method, both.ours) == ("radio-paper", 27.4)


def test_another_protocol_or_device_is_not_comparable(tmp_path):
    other = row(ours(27.23, protocol="wikitext2-test/4096x80"))
    assert (other.verdict, "protocol is another" in other.note) == ("not comparable", True)
    path = write_evaluation(tmp_path, "m", "t", ("radio", "3", 3.1, 9.0, 0.1))
    times = {"cell": MINUTES, "paper": TIMES}
    slow = ours(2820.0, model="llama2-7b", rate_bits=3.0, manifests=[path])
    assert row(slow, device="A100", **times).verdict == "not comparable"
    same = row(slow, device="processor", **times)
    assert (same.verdict, same.ours, same.difference) == ("reproduced", 47.0, 0.0)
    assert same.tolerance == pytest.approx(0.2 * 47)  # minutes, as the paper has it


def test_an_uncovered_cell_names_its_method():
    cells = [CELL, CELL._replace(table="table_9")]
    first, second = build_ledger(cells, {"table_1": Comparison(TABLE1, {})}).note
    assert first == "not run: the suite has no method radio in this table"
    assert second.startswith("not run: no experiment of the suite")


def test_the_page_shows_every_row_and_counts_the_verdicts():
    cells = [CELL, CELL._replace(row=8, paper=99.5)]
    ledger = build_ledger(cells, {"table_1": Comparison(TABLE1, {(7, "perplexity"): [ours(27.3)]})})
    html = page(ledger, {"table_1": {"title": "WikiText2 & more", "embedded": ["table_smollm2"]}})
    for words in ("27.23", "99.5", "27.3", "+0.07", "table_smollm2", "WikiText2 &amp; more"):
        assert words in html
    numbers = "".join(f'<td class="number">{n}</td>' for n in (2, 1, 0, 0, 1))
    assert html.count(numbers) == 2  # of the table and of all
    assert "http" not in html  # it needs no other file
