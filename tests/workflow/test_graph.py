"""The job graphs of the tables, as Snakemake lists them."""

import re
import subprocess
from pathlib import Path

import pytest

from tests.workflow.snake import ROOT, job_counts, snakemake

TEXTS, RATES = 2, 2
# full precision, and at each rate the methods of the paper's tables, or those of the main table
PAPER_CELLS, CELLS = 1 + 9 * RATES, 1 + 3 * RATES


@pytest.mark.slow
def test_tables_of_the_paper(tmp_path: Path) -> None:
    """Every method at every rate, of each model on each text; nothing is made by asking."""
    models = 3
    output = snakemake(tmp_path, "--dry-run", "results/table_llama2.csv")
    assert job_counts(output) == {
        "prepare": models,
        "tokenize": models * TEXTS,
        "reference": models * TEXTS,
        "calibrate": models,
        "refine": models * RATES * 2,
        "allocate": models * RATES * 3,
        "quantize": models * PAPER_CELLS,
        "evaluate": models * PAPER_CELLS * TEXTS,
        "table": 1,
    }
    assert not list(tmp_path.glob("results/*"))


def test_all_is_the_main_table_and_its_figure(tmp_path: Path) -> None:
    output = snakemake(tmp_path, "--dry-run")
    assert job_counts(output) == {
        "prepare": 1,
        "tokenize": 1,
        "reference": 1,
        "calibrate": 1,
        "allocate": RATES,
        "quantize": CELLS,
        "evaluate": CELLS,
        "table": 1,
        "figure": 1,
        "all": 1,
    }


def test_the_report_of_a_clone_makes_the_ledger_of_which_git_keeps_the_numbers(
    tmp_path: Path,
) -> None:
    (tmp_path / "results").mkdir()
    (tmp_path / "results/ledger.csv").touch()
    lines = subprocess.run(
        ["make", "--dry-run", "report"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    made = next(line for line in lines if line.startswith("snakemake --quiet -- "))
    targets = made.partition(" -- ")[2].split()
    assert job_counts(snakemake(tmp_path, "--dry-run", "--", *targets))["ledger"] == 1


def test_the_list_has_a_sentence_for_each_rule(tmp_path: Path) -> None:
    rules = re.findall(r"^(\w+)(?: \((.+))?", snakemake(tmp_path, "--list"), re.MULTILINE)
    listed = {name: sentence for name, sentence in rules if sentence}
    for number in ("1", "2", "3a", "3b", "3c", "4a", "4b", "4c", "5", "6", "7"):
        assert listed[f"table_{number}"].startswith(f"Table {number[0]}")
    assert all(listed[f"figure_{number}"].startswith(f"Figure {number}") for number in range(1, 5))
    assert {"paper", "ledger", "table_1_embedded", "figure_4_embedded"} <= set(listed)


@pytest.mark.slow
def test_the_downstream_table(tmp_path: Path) -> None:
    output = snakemake(tmp_path, "--dry-run", "results/table_downstream_smollm2.csv")
    cells = 1 + 4
    expected = {"items": 1, "allocate": 1, "quantize": cells, "downstream": cells, "table": 1}
    counts = job_counts(output)
    assert {name: counts[name] for name in expected} == expected
    assert not {"evaluate", "reference"} & set(counts)


@pytest.mark.parametrize(
    "arguments, sentence",
    [
        (["results/table_optt.csv"], "unknown experiment 'table_optt': did you mean table_opt"),
        (["results/figures/x.png"], "unknown figure 'x': there are depth_atlas_opt_125m"),
        (["results/opt-125/model.json"], "unknown model 'opt-125': did you mean opt-125m"),
        (["results/opt-125m/quantized/rtm/3.safetensors"], "unknown method 'rtm': did you mean"),
        (["results/opt-125m/tokens/c5.safetensors"], "unknown text 'c5': there are c4"),
        (["--config", "overrides=[modle.path=x]"], "unknown key in overrides 'modle'"),
        (["--config", "overides=[seed=1]"], "'overides' was unexpected"),
        (["--config", "smoke=yes"], "'yes' is not one of"),
        (["--config", "smoke=true", "--", "results/table_opt.csv"], "results/smoke_table_opt.csv"),
        (["results/smoke_table_opt.csv"], "add --config smoke=true"),
    ],
)
def test_bad_targets_and_settings(arguments: list[str], sentence: str, tmp_path: Path) -> None:
    assert sentence in snakemake(tmp_path, "--dry-run", *arguments, status=1)
