"""A row for every cell, with its numbers or the reason why they are missing."""

import pandas as pd
import pytest

from radio.report.paper import load_paper_table
from radio.report.table import CELL_COLUMNS, COLUMNS, build_table, load_table, save_table
from radio.runtime.compose import CONFIG
from radio.runtime.errors import RadioError
from radio.runtime.unavailable import failure_recorded
from tests.report.conftest import CELLS, write_evaluation

CONTRACT = (
    "model,method,mean_depth,bpw,size_bytes,protocol,perplexity,perplexity_se,kl,"
    "top1_agreement,wall_s,"
)
WIKITEXT2 = "wikitext2-test/2048x141/all/bos=none/join=none"


PAPER = CONFIG / "paper"


@pytest.fixture(scope="module")
def paper():
    return {
        "wikitext2": load_paper_table(
            PAPER / "table1_wikitext2.csv", "wikitext2-test/2048x*/all/*"
        ),
        "c4": load_paper_table(PAPER / "table5_c4.csv", "*"),
    }


def test_columns_and_order_of_rows(evaluations, tmp_path):
    save_table(build_table(evaluations), tmp_path / "table.csv")
    lines = (tmp_path / "table.csv").read_text().splitlines()
    assert lines[0].startswith(CONTRACT)
    table = pd.read_csv(tmp_path / "table.csv")
    assert list(zip(table.method, table.rate_bits.map("{:g}".format), strict=True)) == [
        cell[:2] for cell in CELLS
    ]
    backwards = build_table(evaluations[::-1])
    assert list(backwards.method) == [cell[0] for cell in CELLS[::-1]]


def test_values_are_those_of_the_manifests(evaluations):
    row = build_table(evaluations).iloc[2]
    assert (row.model, row.method, row.protocol) == ("smollm2-135m", "rtn", "wikipedia-test/512x40")
    assert (row.perplexity, row.kl, row.bpw, row.tokens) == (660.0, 3.07, 3.04, 20440)
    # what quantizing took, not what evaluating took
    assert row.wall_s == 44.4
    assert row.note == ""


def test_a_saved_table_loads_unchanged(evaluations, tmp_path):
    evaluations.append(tmp_path / "m" / "evaluation" / "rtn" / "2" / "wikipedia.json")
    table = build_table(evaluations)
    save_table(table, tmp_path / "table.csv")
    again = load_table(tmp_path / "table.csv")
    pd.testing.assert_frame_equal(again, table, rtol=1e-5, check_dtype=True)


def test_a_missing_cell_says_why_and_has_no_numbers(evaluations):
    evaluations[1].unlink()
    row = build_table(evaluations).iloc[1]
    assert (row.model, row.method, row.rate_bits) == ("smollm2-135m", "rtn", 4)
    assert row.note == f"not run: {evaluations[1]} does not exist"
    known = {"model", "method", "text", "rate_bits", "asked", "note"}
    assert all(pd.isna(row[name]) for name in (*COLUMNS, *CELL_COLUMNS) if name not in known)


@pytest.mark.parametrize("content", ['{"a', "{}", "[1]"])
def test_a_corrupt_manifest_is_noted_in_its_row(evaluations, content):
    evaluations[1].write_text(content)
    table = build_table(evaluations)
    assert table.note[1].startswith("not read: ")
    assert "delete it and run" in table.note[1]
    assert table.perplexity.notna().sum() == len(CELLS) - 1


def test_a_manifest_of_another_cell_is_refused(evaluations):
    evaluations[1].write_bytes(evaluations[3].read_bytes())
    assert "is about ('smollm2-135m', 'radio')" in build_table(evaluations).note[1]


def test_a_number_that_is_not_finite_is_missing_and_named(tmp_path):
    path = write_evaluation(tmp_path, "m", "wikipedia", CELLS[2], perplexity=None)
    row = build_table([path]).iloc[0]
    assert pd.isna(row.perplexity)
    assert row.note == "not finite: perplexity=inf"


def test_bad_input_is_one_sentence(tmp_path):
    with pytest.raises(RadioError, match=r"artifacts\.evaluations is empty"):
        build_table([])
    for path in ("x.json", "m/evaluation/rtn/three/wikipedia.json"):
        with pytest.raises(RadioError, match="does not end in MODEL/evaluation"):
            build_table([tmp_path / path])
    with pytest.raises(RadioError, match="run `radio table`"):
        load_table(tmp_path / "none.csv")
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    with pytest.raises(RadioError, match="lacks the columns"):
        load_table(tmp_path / "other.csv")
    (tmp_path / "empty.csv").write_text("")
    with pytest.raises(RadioError, match="is not a table"):
        load_table(tmp_path / "empty.csv")


def test_the_papers_value_and_the_difference_are_added(tmp_path, paper):
    cell = ("radio", "3", 3.07, 31.0, 0.1)
    path = write_evaluation(tmp_path, "opt-125m", "wikitext2", cell, protocol=WIKITEXT2)
    row = build_table([path], paper).iloc[0]
    written = (CONFIG / "paper" / "table1_wikitext2.csv").read_text()
    assert f"opt-125m,radio,3,{row.perplexity_paper:.2f}" in written.splitlines()
    assert row.perplexity_difference == pytest.approx(31.0 - row.perplexity_paper)


def test_other_protocols_models_and_rates_have_no_paper_value(tmp_path, paper):
    cell = ("radio", "3", 3.07, 31.0, 0.1)
    others = [
        write_evaluation(tmp_path, "opt-125m", "wikitext2", cell, "wikitext2-test/512x9/all/"),
        write_evaluation(tmp_path, "opt-nano", "wikitext2", cell, WIKITEXT2),
        write_evaluation(tmp_path, "opt-125m", "wikipedia", cell),
        write_evaluation(tmp_path, "opt-125m", "wikitext2", ("radio", "2.5", 2.6, 40.0, 1.0)),
    ]
    assert "perplexity_paper" not in build_table(others, paper)


def test_a_missing_cell_has_no_difference(tmp_path, paper):
    cell = ("radio", "3", 3.07, 31.0, 0.1)
    path = write_evaluation(tmp_path, "opt-125m", "wikitext2", cell, WIKITEXT2, perplexity=None)
    row = build_table([path], paper).iloc[0]
    assert row.perplexity_paper > 0
    assert pd.isna(row.perplexity_difference)


@pytest.mark.parametrize("perplexity, word", [(31.0, "reproduced"), (32.0, "not reproduced")])
def test_a_value_is_judged(tmp_path, paper, perplexity, word):
    """The paper has 30.71, with a tolerance of 1%."""
    cell = ("radio-paper", "3", 3.07, perplexity, 0.1)
    path = write_evaluation(tmp_path, "opt-125m", "wikitext2", cell, WIKITEXT2)
    row = build_table([path], paper).iloc[0]
    assert (row.verdict, row.note) == (word, "")
    assert row.tolerance == pytest.approx(0.3071)


def test_seeds_widen_the_tolerance_by_their_standard_error(tmp_path, paper):
    """The mean of 30, 31 and 32 is 31, with a standard error of 1 / sqrt(3)."""
    paths = [
        write_evaluation(
            tmp_path,
            "opt-125m",
            "wikitext2",
            (name, "3", 3.07, 30.0 + n, 0.1),
            WIKITEXT2,
            method="radio",
        )
        for n, name in enumerate(("radio", "radio@seed=1", "radio@seed=2"))
    ]
    row = build_table(paths, paper).iloc[0]
    assert row.perplexity_difference == pytest.approx(31.0 - 30.71)
    assert row.tolerance == pytest.approx(0.3071 + 2 / 3**0.5)


def test_an_incomparable_value_is_not_judged(tmp_path, paper):
    path = write_evaluation(tmp_path, "llama2-7b", "c4", ("fp16", "16", 16.0, 6.97, 0.0))
    row = build_table([path], paper).iloc[0]
    assert (row.perplexity_paper, row.verdict) == (6.97, "not comparable")
    assert pd.isna(row.tolerance) and "older C4 protocol" in row.note


def test_a_missing_cell_still_has_the_papers_value(tmp_path, paper):
    path = tmp_path / "opt-125m/evaluation/rtn/4/wikitext2.json"
    row = build_table([path], paper).iloc[0]
    assert (row.perplexity_paper, row.verdict) == (37.28, "not run")
    assert pd.isna(row.perplexity_difference)
    assert row.note == f"not run: {path} does not exist"


def test_a_cell_without_weights_says_why(tmp_path):
    path = tmp_path / "llama2-7b/evaluation/rtn/4/wikitext2.json"
    with pytest.raises(RadioError), failure_recorded(tmp_path / "llama2-7b"):
        raise RadioError("it is gated: set HF_TOKEN")
    note = build_table([path]).note[0]
    assert note == "not run: the weights of llama2-7b are not available (it is gated: set HF_TOKEN)"
    (tmp_path / "llama2-7b/model.json").write_text("{}")
    assert build_table([path]).note[0] == f"not run: {path} does not exist"


def test_fp16_values_are_the_models_anchors(paper):
    """The paper's tables and the anchors in the models' YAML agree."""
    from omegaconf import OmegaConf

    checked = 0
    for path in sorted((CONFIG / "model").glob("*.yaml")):
        for text, anchor in OmegaConf.load(path).get("anchors", {}).items():
            assert paper[text].value(path.stem, "fp16", 16.0, "") == anchor
            checked += 1
    assert checked >= 11  # no model of the paper is without one


def test_seeds_become_one_row_with_mean_and_spread(tmp_path):
    """The standard deviation of (0.1, 0.2, 0.6), not of its mean; a missing seed is left out."""
    paths = [
        write_evaluation(
            tmp_path, "opt-nano", "wikipedia", (name, "3", 3.1, 40.0, kl), method="radio"
        )
        for name, kl in (("radio", 0.1), ("radio@seed=1", 0.2), ("radio@seed=2", 0.6))
    ]
    other = write_evaluation(
        tmp_path,
        "opt-nano",
        "wikipedia",
        ("radio@batch=2,seed=1", "3", 3.1, 50.0, 0.5),
        method="radio",
    )
    missing = tmp_path / "opt-nano/evaluation/radio@seed=3/3/wikipedia.json"
    table = build_table([*paths, missing, other])
    assert list(table.method) == ["radio", "radio@batch=2"]
    assert table.kl[0] == pytest.approx(0.3) and table.seeds[0] == 3
    assert table.kl_spread[0] == pytest.approx(0.264575, rel=1e-5)
    assert table.perplexity_spread[0] == 0 and "seed=3" in table.note[0]
    assert table.kl[1] == 0.5 and pd.isna(table.seeds[1])


def test_a_target_is_a_row_without_a_nominal_rate(tmp_path):
    path = write_evaluation(
        tmp_path,
        "opt-nano",
        "wikipedia",
        ("radio", "kl=0.05", 4.2, 40.0, 0.06),
        rate_bits=4.1,
        asked="kl=0.05",
        loss_validation=0.049,
    )
    row = build_table([path]).iloc[0]
    assert row.asked == "kl=0.05" and pd.isna(row.rate_bits)
    assert (row.kl, row.loss_validation, row.note) == (0.06, 0.049, "")
    with pytest.raises(RadioError, match="does not end in"):
        build_table([tmp_path / "opt-nano/evaluation/radio/speed=1/wikipedia.json"])
