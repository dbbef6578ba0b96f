"""The paper's tables that an experiment's YAML names."""

import pandas as pd
import pytest
from omegaconf import OmegaConf

from radio.report.experiment import paper_tables, tolerances
from radio.report.table import build_table
from radio.runtime.compose import CONFIG, compose_step, options
from tests.report.conftest import write_evaluation

PAPER = CONFIG / "paper"


def tables(name):
    cfg = compose_step("table", [f"experiment={name}"])
    return paper_tables(cfg.experiment, cfg.paper, PAPER)


@pytest.mark.parametrize("name", options("experiment"))
def test_every_row_that_a_cell_names_is_in_the_papers_table(name):
    """`paper_tables` refuses a selector that matches no row."""
    cfg = compose_step("table", [f"experiment={name}"])
    cells = [cell for cell in cfg.experiment.cells if "paper" in cell]
    assert not cells or "paper" in cfg.experiment
    for table in tables(name).values():
        assert len(table.values) > 0


@pytest.mark.parametrize(
    "name, text, file, left_out",
    [
        ("table2_hyperparameters", "c4", "table2_hyperparameters_c4.csv", 0),
        ("table3a_ablation", "c4", "table3a_ablation_c4.csv", 0),
        ("table3b_pruned", "c4", "table3b_pruned_columns.csv", 0),
        # the same values beside the paper's settings and its author's
        ("table4a_lowrate", "wikitext2", "table4a_2xbit_llama2_7b.csv", -5),
    ],
)
def test_an_experiment_covers_all_of_the_papers_table(name, text, file, left_out):
    assert len(tables(name)[text].values) == len(pd.read_csv(PAPER / file)) - left_out


def test_smoke_has_no_value_of_the_paper():
    for name in options("experiment"):
        if name.startswith("smoke"):
            cfg = compose_step("table", [f"experiment={name}"])
            assert not set(cfg.experiment.data) & set(cfg.paper)


def test_tolerances_are_those_that_applied(tmp_path):
    paper = tables("table_opt")
    protocol = "wikitext2-test/2048x141/all/bos=none"
    cells = [("rtn", "4"), ("rtn", "3"), ("radio", "4"), ("radio", "3"), ("radio-plus", "3")]
    paths = [
        write_evaluation(tmp_path, "opt-125m", "wikitext2", (*cell, 4.0, 30.0, 0.1), protocol)
        for cell in cells
    ]
    values = tolerances(build_table(paths, paper), paper)
    assert [name for name, _ in values] == ["rtn", "rtn", "radio"]
    assert tolerances(build_table(paths), paper) == []


def test_a_cell_takes_the_experiments_rates():
    experiment = OmegaConf.create(
        {
            "rates": [4, 3],
            "paper": {"c4": {"file": "table3a_ablation_c4.csv", "protocol": "*"}},
            "cells": [
                {"method": "rtn", "paper": {"variant": "rtn"}},
                {"method": "radio", "rates": [3], "paper": {"variant": "+companding"}},
            ],
        }
    )
    table = paper_tables(experiment, {}, PAPER)["c4"]
    assert table.value("opt-13b", "rtn", 4.0, "") == 13.36
    assert table.value("opt-13b", "radio", 3.0, "") == 12.32
    assert table.value("opt-13b", "radio", 4.0, "") is None
