"""The benchmark: honest counts, the paper's values in their places, no time for a wrong kernel."""

import pandas as pd
import pytest
import torch

from radio.cli import run
from radio.kernels import bench
from radio.kernels.table import markdown, with_paper
from radio.runtime.compose import CONFIG
from radio.runtime.errors import RadioError
from radio.runtime.manifest import read_manifest

PAPER = CONFIG / "paper/table7_kernel_speedup_a6000.csv"


@pytest.fixture
def _small(monkeypatch):
    """Little memory and short turns."""
    monkeypatch.setattr(bench, "COPIES_BYTES", 10_000)
    monkeypatch.setattr(bench, "STREAM_BYTES", 4_000)
    monkeypatch.setattr(bench, "TURN_S", 1e-4)


@pytest.mark.parametrize("mean_bits", [2.0, 3.0, 4.0])
def test_random_depths_have_their_mean(mean_bits):
    matrix = bench.random_matrix(128, 2000, mean_bits, 0.8, 64, seed=1)
    standard_error = 0.85 / 4000**0.5
    assert abs(matrix.code_bits() / (128 * 2000) - mean_bits) < 4 * standard_error
    assert bool((matrix.codes.int() < 2 ** matrix.depths[matrix.cluster].int()).all())


@pytest.mark.usefixtures("_small")
def test_a_row_holds_what_was_measured():
    case = bench.random_case(1024, "ExE", 32, 64, 3.0, 0.8, 16, 0)
    row = bench.measure(case, torch.device("cpu"), rounds=3)
    assert row["bits_depth"] == case.matrices[0].code_bits() / (32 * 64)
    assert row["speedup_fp16"] == row["fp16_ms"] / row["packed_ms"]
    assert row["packed_gb_per_s"] == pytest.approx(row["packed_bytes"] / row["packed_ms"] / 1e6)
    assert row["bandwidth_share"] == row["packed_gb_per_s"] / row["read_gb_per_s"]
    table = with_paper(pd.DataFrame([row]), PAPER)
    assert table.speedup_fp16_paper.item() == 0.9
    assert "| 32 | 64 |" in markdown(table) and "| 0.900 |" in markdown(table)


@pytest.mark.usefixtures("_small")
@pytest.mark.parametrize("wrong", [1.001, torch.nan])
def test_a_wrong_kernel_is_not_timed(monkeypatch, wrong):
    right = bench.packed_linear
    monkeypatch.setattr(bench, "packed_linear", lambda *given: wrong * right(*given))
    monkeypatch.setattr(bench, "Timer", None)
    case = bench.random_case(0, "", 32, 64, 3.0, 0.8, 16, 0)
    with pytest.raises(RadioError, match="is wrong by"):
        bench.measure(case, torch.device("cpu"), rounds=3)


def test_other_rates_have_no_value_of_the_paper():
    rows = [{"embedding_dim": 1024, "matrix": "ExE", "asked_bits": bits} for bits in (2.0, 3.0)]
    table = with_paper(pd.DataFrame([*rows, {"embedding_dim": 0, "matrix": ""}]), PAPER)
    assert table.speedup_fp16_paper.isna().tolist() == [True, False, True]


@pytest.mark.usefixtures("_small")
def test_the_step_writes_a_table_for_machines_and_readers(tmp_path):
    sizes = ["embedding_dims=[16]", "shapes=[[24,40],[10000000,10000000]]", "group_rows=16"]
    run("bench", [f"out={tmp_path}/table.csv", *sizes, "mean_bits=[2,3]", "rounds=1"])
    table = pd.read_csv(tmp_path / "table.csv")
    assert table.rows.tolist() == [16, 16, 16, 16, 64, 64, 24, 24]
    assert table.asked_bits.tolist() == [2, 3] * 4
    assert len((tmp_path / "table.md").read_text().split("\n|")) == 8 + 2 + 1
    assert read_manifest(tmp_path / "table.csv")["measured"]["too_large"] == [[10**7, 10**7]]
