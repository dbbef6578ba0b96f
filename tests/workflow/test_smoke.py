"""The graphs of the paper's tables on random miniatures, and these tables without weights."""

from pathlib import Path

import pandas as pd
import pytest

from tests.workflow.snake import job_counts, snakemake

RESOURCES = ["--cores", "2", "--max-threads", "1", "--resources", "gpu=2"]
METHODS = [
    "fp16",
    "rtn",
    "rtn-g128",
    "gptq",
    "gptq-g256",
    "owq",
    "awq-g128",
    "radio-paper",
    "radio-paper@follow_author_code=true,quantizer.center_on=median",
    "radio",
]


@pytest.mark.slow
@pytest.mark.timeout(1800)  # two minutes on two cores of one's own
def test_every_step_of_the_papers_tables_runs_on_miniatures(tmp_path: Path) -> None:
    """Of OPT; the graph of Llama-2's table is of the same steps."""
    smoke = ["--config", "smoke=true"]
    counts = job_counts(snakemake(tmp_path, "--dry-run", *smoke))
    table_path = "results/smoke_table_opt.csv"
    run = [*RESOURCES, *smoke, "--", table_path]
    halves = {name: 2 * n for name, n in job_counts(snakemake(tmp_path, "-n", *run)).items()}
    assert counts == halves | {"all": 1}
    snakemake(tmp_path, *run)
    table = pd.read_csv(tmp_path / table_path)
    assert list(table.model) == ["smoke-opt-350m"] * len(METHODS)
    assert list(table.method) == METHODS
    assert table.perplexity.notna().all() and table.note.isna().all()
    assert (table.kl[table.method == "fp16"] < 1e-4).all()
    assert not {"perplexity_paper", "verdict"} & set(table.columns)
    rendered = (tmp_path / table_path).with_suffix(".md").read_text()
    assert rendered.startswith("### Smoke: ") and "Random weights: " in rendered
    assert all(path.name.startswith("smoke") for path in tmp_path.glob("results/*"))
    assert "Nothing to be done" in snakemake(tmp_path, *run)


@pytest.mark.slow
@pytest.mark.timeout(900)  # half a minute on two cores of one's own
def test_without_weights_the_table_says_so_and_the_run_fails(tmp_path: Path) -> None:
    """Tests run without a hub. With weights, nothing of the table made without them stays."""
    table = ["results/table_llama2.csv"]
    output = snakemake(tmp_path, *RESOURCES, "--", *table, status=1, HF_HUB_OFFLINE="1")
    assert "table_llama2 is made without llama2-70b: meta-llama/Llama-2-70b-hf is not" in output
    found = pd.read_csv(tmp_path / table[0])
    assert len(found) == 3 * 2 * (1 + 9 * 2)
    assert found.perplexity.isna().all()
    assert found.note.str.startswith("not run: the weights of llama2-").all()
    assert (found.verdict[found.perplexity_paper.notna()] == "not run").all()

    partial = ["--config", "partial=true", "--", *table]
    assert "Nothing to be done" in snakemake(tmp_path, "--dry-run", *partial)
    full = job_counts(snakemake(tmp_path, "--dry-run", *table))
    assert (full["prepare"], full["evaluate"], full["table"]) == (3, len(found), 1)


def test_a_table_of_what_is_there_asks_for_nothing_else(tmp_path: Path) -> None:
    arguments = ["--config", "partial=true", "--", "results/table_smollm2.csv"]
    assert job_counts(snakemake(tmp_path, "--dry-run", *arguments)) == {"table": 1}
