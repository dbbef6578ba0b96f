"""What makes the paper's tables and figures, what a machine leaves out, and our side of them."""

from pathlib import Path

import pandas as pd
import pytest
from omegaconf import OmegaConf

from radio.resources.machine_limits import why_too_large
from radio.runtime.compose import CONFIG, compose_step, options
from radio.runtime.errors import RadioError
from radio.runtime.manifest import read_manifest
from radio.runtime.unavailable import record_unavailable
from radio.steps import ledger
from radio.workflow import JobGraph, paper
from radio.workflow.manifests import manifests_digest
from radio.workflow.paper import fitting_targets, paper_numbers, paper_targets
from radio.workflow.reproduction import SPEEDUP, comparison_of
from tests.report.conftest import write_evaluation

PLAN = JobGraph()
SIZES = CONFIG / "paper/models.csv"
SPECS = OmegaConf.to_container(compose_step("ledger", ["out=x"]))
RULES = (CONFIG.parent / "workflow/rules/paper.smk").read_text()


def test_every_table_and_figure_has_a_rule_with_a_sentence():
    for name, spec in {**SPECS["tables"], **SPECS["figures"]}.items():
        assert f'rule {name}:\n    """' in RULES
        assert f'targets_of("{name}")' in RULES
        same = spec.get("experiments", spec.get("figures")) == spec["embedded"]
        assert (f'rule {name}_embedded:\n    """' in RULES) != (same and bool(spec["embedded"]))


def test_targets_are_those_of_the_experiments_and_figures():
    assert set(paper_targets(PLAN, "table_3a")) >= {"results/table3a_ablation.csv"}
    assert set(paper_targets(PLAN, "table_7")) == {
        "results/table_kernel.csv",
        "results/table_kernel.json",
    }
    assert set(paper_targets(PLAN, "figure_1", embedded=True)) == {
        "results/figures/optimal_depths_smollm2.png",
        "results/figures/optimal_depths_smollm2.json",
    }
    assert paper_numbers(PLAN, "table_smollm2")[:2] == ["Table 1", "Table 5"]
    with pytest.raises(RadioError, match="unknown table or figure 'table_8'"):
        paper_targets(PLAN, "table_8")


def test_sizes_are_of_all_models_on_the_hub():
    hub = [m for m in options("model") if PLAN.compose("prepare", model=m).model.source]
    hub = [m for m in hub if PLAN.compose("prepare", model=m).model.source.kind == "hub"]
    assert sorted(pd.read_csv(SIZES).model) == sorted(hub)


@pytest.mark.parametrize(
    "memory_gb, disk_gb, reason",
    [
        (53, 27, None),
        (51, 27, "opt-13b takes 52 GB of memory and this machine has 51"),
        (53, 25, "opt-13b takes 26 GB of free disk and this machine has 25"),
    ],
)
def test_a_model_is_held_in_float32_and_stored_in_half_of_it(memory_gb, disk_gb, reason):
    room = {"memory_bytes": memory_gb * 1e9, "disk_bytes": disk_gb * 1e9}
    assert why_too_large("opt-13b", SIZES, **room) == reason
    assert why_too_large("smollm2-135m", SIZES, memory_bytes=0.0, disk_bytes=0.0) is None


def test_models_that_do_not_fit_are_left_out_and_named(monkeypatch):
    """Of two tables and two figures, so that not all of the paper's are composed here."""
    tables = {name: SPECS["tables"][name] for name in ("table_3a", "table_7")}
    figures = {name: SPECS["figures"][name] for name in ("figure_1", "figure_2")}
    monkeypatch.setattr(paper, "_specs", lambda plan: (tables, figures))
    reasons = {"opt-13b": "it is large", "opt-125m": "it is not, but so is the test"}
    monkeypatch.setattr(paper, "why_too_large", lambda model, sizes: reasons.get(model))
    found = fitting_targets(PLAN)
    assert found.without == {"table3a_ablation": ["opt-13b"]}
    assert found.left_out == {"optimal_depths_opt_125m": ["opt-125m"]}
    assert found.too_large == reasons
    assert len(found.sentences()) == 4
    asked = set(found.targets)
    assert "results/opt-1.3b/evaluation/rtn/3/c4.json" in asked
    assert not any(path.startswith(("results/opt-13b", "results/opt-125m")) for path in asked)
    assert "results/table3a_ablation.csv" not in asked
    assert {"results/table_ablation_smollm2.csv", "results/figures/staircase.png"} <= asked
    reasons.clear()
    assert "results/table3a_ablation.csv" in fitting_targets(PLAN).targets


def test_our_comparison_of_a_table_is_read_from_manifests(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    protocol = "c4-test/2048x256/first"
    write_evaluation(Path("results"), "opt-1.3b", "c4", ("rtn", "3", 3.01, 4100.0, 3.0), protocol)
    record_unavailable(Path("results/opt-13b"), "there is no network")
    side = comparison_of(PLAN, SPECS["tables"]["table_3a"])
    table = pd.read_csv(CONFIG / "paper/table3a_ablation_c4.csv")
    assert set(side.ours) == {(row, "perplexity") for row in table.index}
    (run,) = (each for entries in side.ours.values() for each in entries if each.value is not None)
    row = table[(table.variant == "rtn") & (table.bits == 3) & (table.model == "opt-1.3b")].index
    assert side.ours[row[0], "perplexity"] == [run]
    assert (run.value, run.protocol) == (4100.0, protocol)
    assert Path("results/opt-1.3b/evaluation/rtn/3/c4.json") in run.manifests
    assert Path("results/opt-1.3b/quantized/rtn/3.json") in run.manifests
    notes = {each.model: each.note for (each,) in side.ours.values() if each is not run}
    assert "table3a_ablation.csv` computes it, with weights of facebook/opt" in notes["opt-1.3b"]
    assert notes["opt-13b"] == "not run: there is no network"
    before = manifests_digest()
    write_evaluation(Path("results"), "opt-1.3b", "c4", ("rtn", "4", 4.01, 24.0, 0.1), protocol)
    assert manifests_digest() != before


def test_the_benchmarks_ratios_are_compared_with_the_papers(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    spec = SPECS["tables"]["table_7"]
    Path("results").mkdir()
    Path("results/table_kernel.csv").write_text(
        "embedding_dim,matrix,asked_bits,speedup_fp16\n1024,ExE,2.0,5.0\n1024,ExE,3.0,1.5\n"
    )
    (none,) = comparison_of(PLAN, spec).ours[0, SPEEDUP]
    assert none.value is None and "table_kernel.csv` computes it" in none.note
    Path("results/table_kernel.json").touch()
    side = comparison_of(PLAN, spec)
    assert side.ours[0, SPEEDUP][0].value == 1.5
    assert [len(entries) for entries in side.ours.values()] == [1] * 24
    assert "too large" in side.ours[1, SPEEDUP][0].note
    assert "does not state what it averages over" in side.ours[3, SPEEDUP][0].note


@pytest.mark.parametrize("table, cells", [("table_4b", 2 * 15), ("table_4c", 5 * 15)])
def test_scores_are_compared_with_the_papers(table, cells, tmp_path, monkeypatch):
    """Every one of the paper's values of its five methods on three models, by task."""
    monkeypatch.chdir(tmp_path)
    side = comparison_of(PLAN, SPECS["tables"][table])
    assert len(side.ours) == cells
    for entries in side.ours.values():
        assert [each.method for each in entries][:1] != ["radio"]
        assert all(each.value is None and each.note.startswith("not run") for each in entries)


def test_the_step_writes_the_ledger(tmp_path, monkeypatch):
    """Two tables only: composing all experiments of the paper takes long."""
    monkeypatch.chdir(tmp_path)
    tables = {"table_3c": SPECS["tables"]["table_3c"], "table_7": SPECS["tables"]["table_7"]}
    cfg = compose_step("ledger", ["out=results/ledger.csv", "wandb.mode=disabled"])
    cfg.tables = tables
    ledger.run(cfg)
    rows = pd.read_csv("results/ledger.csv")
    assert len(rows) == 24 and (rows.verdict == "not run").all()
    assert "Table 3(c)" in Path("results/ledger.html").read_text()
    assert read_manifest(Path("results/ledger.csv"))["measured"] == {
        "cells": 24,
        "cells not run": 24,
    }
