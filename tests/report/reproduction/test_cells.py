"""The ledger has every value of the paper's tables exactly once."""

import csv
from collections import Counter

import pytest
from omegaconf import OmegaConf

from radio.report.reproduction.cells import KEYS, paper_cells
from radio.runtime.compose import CONFIG, compose_step
from radio.runtime.errors import RadioError

PAPER = CONFIG / "paper"
FILES = {
    name: spec.file for name, spec in compose_step("ledger", ["out=x"]).tables.items() if spec.file
}
VALUES = {
    "perplexity",
    "pruned_percent",
    "gsm8k_5shot_flexible",
    "average_qa",
    "accuracy",
    "minutes",
    "speedup_vs_fp16_cublas",
}


def test_every_value_of_the_papers_files_is_a_cell_exactly_once():
    """Compare with the files read as text; each of their columns is a key or a value."""
    assert sorted(FILES.values()) == sorted(path.name for path in PAPER.glob("table*.csv"))
    for name, file in FILES.items():
        with (PAPER / file).open(newline="") as text:
            rows = list(csv.DictReader(text))
        assert set(rows[0]) <= {*KEYS, *VALUES}
        wanted = Counter(
            (number, column, float(row[column]))
            for number, row in enumerate(rows)
            for column in VALUES & set(row)
        )
        cells = paper_cells(name, PAPER / file)
        assert Counter((cell.row, cell.quantity, cell.paper) for cell in cells) == wanted
        assert set(wanted.values()) == {1}
        for cell in cells:
            written = {key: rows[cell.row][key] for key in KEYS if key in rows[cell.row]}
            assert {key: str(value).removesuffix(".0") for key, value in cell.keys.items()} == (
                written
            )


def test_all_cells_differ():
    cells = [cell for name, file in FILES.items() for cell in paper_cells(name, PAPER / file)]
    words = [(cell.table, cell.quantity, *cell.keys.items()) for cell in cells]
    assert len(set(words)) == len(words) == 677


def test_experiments_and_figures_of_the_ledger_exist():
    config = OmegaConf.to_container(compose_step("ledger", ["out=x"]))
    named = [
        (group, name)
        for group, specs, keys in (
            ("experiment", config["tables"], ("experiments", "embedded")),
            ("figure", config["figures"], ("figures", "embedded")),
        )
        for spec in specs.values()
        for key in keys
        for name in spec[key]
    ]
    for group, name in named:
        assert name == "table_kernel" or (CONFIG / group / f"{name}.yaml").is_file(), name


@pytest.mark.parametrize(
    "content",
    ["model,bits\na,3\n", "model,perplexity\na,\n", "model,perplexity\na,1\na,2\n"],
    ids=["no values", "an empty value", "two rows for one cell"],
)
def test_a_damaged_file_is_one_sentence(tmp_path, content):
    path = tmp_path / "table.csv"
    path.write_text(content)
    with pytest.raises(RadioError, match=r"table\.csv has no values, .*: restore it from git"):
        paper_cells("table_1", path)
