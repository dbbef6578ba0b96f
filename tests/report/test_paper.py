"""Values of the paper by our names, with their caveats and tolerances."""

import pandas as pd
import pytest

from radio.report.paper import KEYS, PaperRowSelector, PaperTable, load_paper_table
from radio.runtime.compose import CONFIG, options
from radio.runtime.errors import RadioError

PAPER = CONFIG / "paper"
TABLE1 = load_paper_table(PAPER / "table1_wikitext2.csv", "*")
TABLE5 = load_paper_table(PAPER / "table5_c4.csv", "*")
TABLES = [TABLE1, TABLE5]
AUTHOR = "radio-paper@follow_author_code=true,quantizer.center_on=median"


def written(file: str) -> pd.DataFrame:
    return pd.read_csv(PAPER / file)


@pytest.mark.parametrize("file, table", [("table1_wikitext2", TABLE1), ("table5_c4", TABLE5)])
def test_every_value_belongs_to_one_or_three_methods(file, table):
    """Radio's values belong to its loop, its author's choices and its fast mode; none changes."""
    raw = written(f"{file}.csv")
    radio = raw[raw.method == "radio"].perplexity
    assert sorted(table.values.perplexity) == sorted([*raw.perplexity, *radio, *radio])
    assert not table.values.duplicated(["model", "method", "bits"]).any()
    assert set(table.values.bits) == {16, 4, 3}


@pytest.mark.parametrize(
    "table, model, method, bits, value",
    [
        (TABLE1, "opt-125m", "owq", 4.0, 29.47),  # 4.01 in the paper
        (TABLE1, "opt-125m", "rtn", 3.0, 1300),
        (TABLE1, "opt-1.3b", "rtn-g128", 3.0, 119.47),
        (TABLE1, "opt-1.3b", "rtn", 3.0, None),
        (TABLE1, "opt-1.3b", "rtn", 4.0, 48.17),
        (TABLE1, "llama2-7b", "rtn-g128", 4.0, 5.73),
        (TABLE5, "llama2-7b", "rtn", 3.0, 521.22),
        (TABLE1, "opt-350m", "awq-g128", 4.0, None),
        (TABLE1, "opt-125m", "radio-paper", 4.0, 27.23),
        (TABLE1, "opt-125m", AUTHOR, 4.0, 27.23),
        (TABLE1, "opt-125m", "radio", 4.0, 27.23),
        (TABLE1, "opt-125m", "radio-plus", 4.0, None),
    ],
)
def test_the_papers_methods_under_our_names(table, model, method, bits, value):
    assert table.value(model, method, bits, "") == value


def test_an_empty_protocol_matches_all_protocols():
    table = load_paper_table(PAPER / "table5_c4.csv", "c4-test/2048x256/*")
    cell = ("opt-125m", "fp16", 16.0)
    assert table.value(*cell, "") == table.value(*cell, "c4-test/2048x256/first") == 26.56
    assert table.value(*cell, "c4-test/512x256/first") is None


@pytest.mark.parametrize(
    "table, cell, words, comparable",
    [
        (TABLE1, ("opt-1.3b", "rtn-g128", 3.0), ["calls this RTN"], True),
        (TABLE1, ("opt-125m", "rtn", 3.0), [], True),
        (TABLE5, ("opt-350m", "rtn", 4.0), ["misprint"], False),
        (TABLE5, ("llama2-70b", "fp16", 16.0), ["older C4 protocol"], False),
        (TABLE1, ("opt-66b", "radio", 4.0), ["fast mode", "below its FP16"], True),
        (TABLE1, ("opt-66b", "radio-paper", 4.0), ["below its FP16"], True),
        (TABLE1, ("opt-350m", "radio-paper", 4.0), [], True),
        (TABLE5, ("opt-66b", "radio-paper", 4.0), [], True),
    ],
)
def test_footnotes_and_comparability(table, cell, words, comparable):
    notes = table.notes(*cell)
    assert len(notes) == len(words)
    assert all(word in note for word, note in zip(words, notes, strict=True))
    assert table.comparable(*cell) == comparable


def test_radio_is_below_fp16_exactly_where_a_footnote_says_so():
    for model in {*TABLE1.values.model}:
        fp16, radio = (
            TABLE1.value(model, *cell, "") for cell in (("fp16", 16.0), ("radio-paper", 4.0))
        )
        labels = [note for note in TABLE1.notes(model, "radio-paper", 4.0) if "below" in note]
        assert bool(labels) == (radio < fp16)
        assert all(f"({fp16:.2f})" in note for note in labels)


def test_every_caveat_and_mapping_is_about_a_value_of_the_paper():
    """A misspelled model or method would match no value."""
    for table in TABLES:
        values = table.values
        for index in table.caveats.index:
            alone = PaperTable(values, table.caveats.loc[[index]], table.tolerances, "*")
            cells = zip(values.model, values.method, values.bits.astype(float), strict=True)
            assert any(alone.notes(*cell) for cell in cells), table.caveats.loc[index]
    methods = written("methods.csv").methods
    named = {name.split("@")[0] for names in methods for name in names.split()}
    assert named <= set(options("method"))


@pytest.mark.parametrize("file", ["caveats.csv", "tolerances.csv", "methods.csv"])
def test_the_companion_files_are_complete(file):
    rows = written(file)
    assert tuple(rows.columns[:4]) == KEYS
    assert not rows.drop(columns=["bits", "rate_bits"], errors="ignore").isna().any(axis=None)
    texts = rows.get("caveat", rows.get("reason", pd.Series(dtype=str)))
    assert not texts.str.contains("; ").any() or file == "tolerances.csv"  # it parts notes


def test_every_value_has_a_tolerance():
    for table in TABLES:
        for row in table.values.itertuples():
            if row.method in options("method"):
                allowed = table.tolerance(row.model, row.method, float(row.bits))
                assert 0 < allowed.around(row.perplexity) <= 0.06 * row.perplexity
    with pytest.raises(RadioError, match="no row for opt-125m, quip at 3 bits"):
        TABLE1.tolerance("opt-125m", "quip", 3.0)


def test_a_selector_picks_its_rows(tmp_path):
    studies = [
        PaperRowSelector("radio-paper@batch=2", 3.0, {"hyperparameter": "batch_size", "value": 2}),
        PaperRowSelector("radio-paper", 3.0, {"hyperparameter": "batch_size", "value": 16}),
    ]
    table = load_paper_table(PAPER / "table2_hyperparameters_c4.csv", "*", selectors=studies)
    assert table.value("opt-13b", "radio-paper@batch=2", 3.0, "") == 12.36
    assert table.value("opt-1.3b", "radio-paper", 3.0, "") == 16.86
    assert table.value("opt-1.3b", "radio-paper", 4.0, "") is None


def test_a_selector_for_one_model_and_other_bits():
    studies = [PaperRowSelector("owq@extra_bits=0.1", 2.0, {"method": "owq", "bits": 2.1})]
    table = load_paper_table(
        PAPER / "table4a_2xbit_llama2_7b.csv", "*", model="llama2-7b", selectors=studies
    )
    assert table.value("llama2-7b", "owq@extra_bits=0.1", 2.0, "") == 39.56


def test_percents_become_shares():
    table = load_paper_table(
        PAPER / "table3b_pruned_columns.csv",
        "*",
        "pruned",
        selectors=[PaperRowSelector("x", 3.0, {"group_size": 64})],
    )
    assert table.value("opt-1.3b", "x", 3.0, "") == pytest.approx(0.0370)


def test_a_broken_file_is_one_sentence(tmp_path):
    with pytest.raises(RadioError, match=r"table\.csv cannot be read .*: restore it from git"):
        load_paper_table(tmp_path / "table.csv", "*")
    (tmp_path / "table.csv").write_text("model,method\n")
    with pytest.raises(RadioError, match=r"lacks the columns \['bits'\]"):
        load_paper_table(tmp_path / "table.csv", "*")
    (tmp_path / "table.csv").write_text("model,bits\n")
    with pytest.raises(RadioError, match=r"lacks the columns \['method', 'perplexity'\]"):
        load_paper_table(tmp_path / "table.csv", "*")
    with pytest.raises(RadioError, match=r"no row with .*'value': 7.*correct `paper` in its cell"):
        load_paper_table(
            PAPER / "table2_hyperparameters_c4.csv",
            "*",
            selectors=[PaperRowSelector("x", 3.0, {"hyperparameter": "batch_size", "value": 7})],
        )
