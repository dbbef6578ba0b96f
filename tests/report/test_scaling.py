"""The table of times against size: totals, power laws, the paper's times, missing values."""

import json
import math

import pandas as pd
import pytest

from radio.report.scaling import (
    StageCell,
    build_scaling_table,
    load_scaling_table,
    paper_times,
    power_law,
)
from radio.runtime.compose import CONFIG, compose_step
from radio.runtime.unavailable import record_unavailable
from radio.steps import table as step

STAGES = ("prepare", "calibrate", "quantize")
PAPER = paper_times(CONFIG / "paper", "table6_quantization_time_a100.csv", "radio")
SIZES = {"small": 1e8, "middle": 1e9, "large": 1e10}


def write(root, model, stage, wall_s, memory=5, read=7, resumed=False, **measured):
    """Write the manifest of one job to the path that the table reads."""
    path = root / model / f"{stage}.json"
    path.parent.mkdir(exist_ok=True)
    manifest = {"step": stage, "config": {"model": {"name": model}}, "commit": "0", "versions": {}}
    manifest |= {"device": {"name": "A processor", "threads": 2}, "measured": measured}
    manifest |= {"wall_s": wall_s, "resumed": resumed, "peak_memory_bytes": memory}
    manifest |= {"read_bytes": read, "written_bytes": 2 * read} if read else {}
    path.write_text(json.dumps(manifest))


def written(root):
    """Write the stages of three models; their times grow as the size to the power 1.5."""
    for model, size in SIZES.items():
        write(root, model, "prepare", 3.0, memory=1, parameters=int(size))
        write(root, model, "calibrate", 1e-9 * size**1.5, memory=int(size))
        write(root, model, "quantize", 1e-9 * size**1.5, memory=2)
    return rows(root)


def rows(root, models=SIZES):
    return [
        (StageCell(model, "radio", 3.0, stage), root / model / f"{stage}.json")
        for model in models
        for stage in STAGES
    ]


def row_of(table, **where):
    for name, value in where.items():
        table = table[table[name] == value] if value else table[table[name].isna()]
    (row,) = table.to_dict("records")
    return row


def test_rows_are_our_stages_the_papers_times_and_the_fits(tmp_path):
    table = build_scaling_table(written(tmp_path), ["calibrate", "quantize"], PAPER)
    assert len(table) == 3 * (3 + 1) + 3 + (3 + 1) + 1
    total = row_of(table, model="middle", stage="total")
    assert total["wall_s"] == pytest.approx(2e-9 * 1e9**1.5)
    assert total["s_per_billion"] == pytest.approx(total["wall_s"])
    assert (total["peak_memory_bytes"], total["read_bytes"], total["written_bytes"]) == (
        1_000_000_000,
        14,
        28,
    )
    fit = row_of(table, model=None, source="ours", stage="total")
    assert fit["exponent"] == pytest.approx(1.5) and fit["models"] == 3
    assert fit["exponent_se"] == pytest.approx(0, abs=1e-9)
    flat = row_of(table, model=None, source="ours", stage="prepare")
    assert flat["exponent"] == pytest.approx(0)


def test_the_papers_times_grow_faster_than_sizes():
    """47, 97, 660 minutes for 6.7, 13, 69 billion; expected: statistics.linear_regression."""
    table = build_scaling_table([], [], PAPER)
    fit = row_of(table, model=None)
    assert fit["exponent"] == pytest.approx(1.1360, abs=1e-4)
    assert fit["exponent_se"] == pytest.approx(0.0123, abs=1e-4)
    assert row_of(table, model="llama2-70b")["s_per_billion"] == pytest.approx(660 * 60 / 69)


def test_the_error_of_an_exponent_is_that_of_least_squares():
    """Residuals of 1, -2, 1 about a line over -1, 0, 1: 6 over one degree of freedom, over 2."""
    sizes = [math.exp(x) for x in (-1, 0, 1)]
    exponent, error = power_law(sizes, [math.exp(y) for y in (0.5, -2.0, 1.5)])
    assert (exponent, error) == (pytest.approx(0.5), pytest.approx(math.sqrt(6 / 2)))
    assert power_law([1, 10], [1, 100]) == (pytest.approx(2), None)


def test_a_missing_stage_says_why_and_is_in_no_total_and_no_fit(tmp_path):
    stages = written(tmp_path)
    (tmp_path / "large/quantize.json").unlink()
    (tmp_path / "middle/calibrate.json").unlink()
    record_unavailable(tmp_path / "middle", "the disk is small")
    (tmp_path / "small/quantize.json").write_text((tmp_path / "small/calibrate.json").read_text())
    table = build_scaling_table(stages, ["calibrate", "quantize"], PAPER)
    assert (
        "large/quantize.json does not exist"
        in row_of(table, model="large", stage="quantize")["note"]
    )
    middle = row_of(table, model="middle", stage="calibrate")
    assert middle["note"] == "not run: the weights are not available (the disk is small)"
    assert (
        "is about ('calibrate', 'small')" in row_of(table, model="small", stage="quantize")["note"]
    )
    ours = table[(table.source == "ours") & (table.stage == "total") & table.model.notna()]
    assert ours.wall_s.isna().all()
    assert list(ours.note) == [
        f"without {stage}" for stage in ("quantize", "calibrate", "quantize")
    ]
    fit = row_of(table, model=None, stage="quantize")
    assert (fit["models"], fit["note"]) == (1, "an exponent needs two models")
    assert row_of(table, model=None, stage="calibrate")["models"] == 2


def test_shares_of_the_machines_peak(tmp_path):
    stages = written(tmp_path)
    write(tmp_path, "small", "calibrate", 4.0, flops=6e9, peak_flops_per_s=3e9)
    write(tmp_path, "small", "quantize", 5.0, moved_bytes=10, peak_bytes_per_s=200)
    table = build_scaling_table(stages, ["calibrate", "quantize"], PAPER)
    shares = [row_of(table, model="small", stage=stage)["share_of_peak"] for stage in STAGES]
    assert pd.isna(shares[0]) and shares[1:] == [pytest.approx(0.5), pytest.approx(0.01)]
    assert pd.isna(row_of(table, model="small", stage="total")["share_of_peak"])


def test_a_resumed_job_has_no_time(tmp_path):
    stages = written(tmp_path)
    write(tmp_path, "small", "calibrate", 4.0, resumed=True, flops=6e9, peak_flops_per_s=3e9)
    table = build_scaling_table(stages, ["calibrate", "quantize"], PAPER)
    row = row_of(table, model="small", stage="calibrate")
    assert pd.isna(row["wall_s"]) and pd.isna(row["share_of_peak"]) and "resumed" in row["note"]
    assert row["peak_memory_bytes"] == 5
    assert row_of(table, model="small", stage="total")["note"] == "without calibrate"


def test_uncounted_traffic_leaves_its_cells_empty(tmp_path):
    stages = written(tmp_path)
    for stage in STAGES:
        write(tmp_path, "small", stage, 1.0, read=None, parameters=1, weights_read_bytes=8)
    table = build_scaling_table(stages, ["calibrate", "quantize"], PAPER)
    total = row_of(table, model="small", stage="total")
    assert pd.isna(total["read_bytes"]) and total["weights_read_bytes"] == 16


def test_the_step_writes_the_table_of_the_experiment(tmp_path):
    model = "random-opt-125m"
    folder = tmp_path / model
    for stage in ("prepare", "calibrate", "allocate"):
        write(tmp_path, model, stage, 12.34, parameters=125_239_296)
    paths = [
        f"'{folder}/{stage}.json'" for stage in ("prepare", "calibrate", "allocate", "quantize")
    ]
    out = tmp_path / "table_scaling.csv"
    cfg = ["experiment=table_scaling", f"experiment.models=[{model}]", f"out={out}"]
    step.run(compose_step("table", [*cfg, f"artifacts.evaluations=[{','.join(paths)}]"]))
    table = load_scaling_table(out)
    assert row_of(table, model=model, stage="calibrate")["wall_s"] == 12.34
    rendered = out.with_suffix(".md").read_text()
    assert "| OPT-125M geometry, random weights | 125 | calibrate | 12.3 | 99 |" in rendered
    assert "| Llama-2-70B, the paper, A100 | 69000 | total | 39600.0 | 574 |" in rendered
    assert "| total, the paper, A100 | 1.136 ± 0.012 | 3 |" in rendered
    assert "Random weights:" in rendered and "A processor, 2 threads" in rendered
    assert "C4" not in rendered  # a caveat of Llama-2's perplexities
    assert json.loads(out.with_suffix(".json").read_text())["measured"] == {
        "rows": len(table),
        "rows_missing": 2,
    }
