"""The benchmark: honest counts, the paper's values in their places, no time for a wrong kernel."""

import math

import pandas as pd
import pytest
import torch

from radio.allocate.depths import save_depths
from radio.benchmark import ggml
from radio.benchmark import matmul as bench
from radio.cli import run
from radio.kernels.layout import packed_matrix
from radio.report.speed import products_markdown, with_paper
from radio.runtime.compose import CONFIG
from radio.runtime.errors import RadioError
from radio.runtime.files import write_json
from radio.runtime.manifest import read_manifest

PAPER = CONFIG / "paper/table7_kernel_speedup_a6000.csv"


@pytest.fixture
def _small(monkeypatch):
    """Little memory and short turns."""
    monkeypatch.setattr(bench, "COPIES_BYTES", 10_000)
    monkeypatch.setattr(bench, "STREAM_BYTES", 4_000)
    monkeypatch.setattr(bench, "TURN_S", 1e-4)


def case(rows=32, cols=64, group_rows=16, mean_bits=3.0):
    shape = bench.Shape(rows, cols, 1024, "ExE")
    draw = bench.normal_depths(mean_bits, 0.8)
    return shape, bench.coded_case("random depths", shape, draw, mean_bits, group_rows, seed=1)


@pytest.mark.parametrize("mean_bits", [2.0, 3.0, 4.0])
def test_random_depths_have_their_mean(mean_bits):
    _, random = case(128, 2000, 64, mean_bits)
    matrix, standard_error = random.slab, 0.85 / 4000**0.5
    assert abs(matrix.code_bits() / (128 * 2000) - mean_bits) < 4 * standard_error
    assert bool((matrix.codes.int() < 2 ** matrix.depths[matrix.cluster].int()).all())


def test_depths_of_an_allocation_have_its_distribution():
    pool = torch.tensor([0, 3, 3, 8], dtype=torch.uint8)
    depths = bench.allocated_depths(pool)(50, 80, torch.Generator().manual_seed(0))
    shares = depths.flatten().bincount(minlength=9) / 4000
    expected = pool.bincount(minlength=9) / 4
    assert bool(((shares - expected).abs() < 4 * 0.5 / 4000**0.5).all())


def test_a_large_matrix_is_a_slab_repeated(monkeypatch):
    monkeypatch.setattr(bench, "SLAB_WEIGHTS", 2 * 16 * 64)
    _, random = case(96)
    assert (random.slab.shape, random.repeats) == ((32, 64), 3)
    packed = packed_matrix(random.slab).repeated(3)
    inputs = torch.randn(1, 64)
    bench.check(random, bench.packed_linear(inputs, packed), inputs)
    wrong = bench.packed_linear(inputs, packed)
    wrong[0, 95] += 1  # the last row of the last slab
    with pytest.raises(RadioError, match="is wrong by"):
        bench.check(random, wrong, inputs)
    assert case(33)[1].repeats == 1  # rows that are no whole clusters


@pytest.mark.usefixtures("_small")
def test_a_row_holds_what_was_measured():
    shape, random = case(64, 256)
    (row,) = bench.measure(shape, [random], torch.device("cpu"), rounds=3)
    assert row["bits_depth"] == random.slab.code_bits() / (64 * 256)
    assert row["speedup_fp16"] == row["fp16_ms"] / row["packed_ms"]
    assert row["packed_gb_per_s"] == pytest.approx(row["packed_bytes"] / row["packed_ms"] / 1e6)
    assert row["bandwidth_share"] == row["packed_gb_per_s"] / row["read_gb_per_s"]
    times = {row[f"{name}_ms"] for name in ggml.TYPES}
    assert all(time > 0 for time in times) or (ggml.installed() is None and len(times) > 0)
    table = with_paper(pd.DataFrame([row]), PAPER)
    assert table.speedup_fp16_paper.item() == 0.9
    assert "| 64 | 256 |" in products_markdown(table) and "| 0.900 |" in products_markdown(table)


@pytest.mark.usefixtures("_small")
def test_without_ggml_its_columns_are_empty(monkeypatch):
    monkeypatch.setattr(ggml, "installed", lambda: None)
    shape, random = case(64, 256)
    (row,) = bench.measure(shape, [random], torch.device("cpu"), rounds=1)
    assert all(math.isnan(row[f"{name}_ms"]) for name in ggml.TYPES)
    assert "without ggml" in products_markdown(with_paper(pd.DataFrame([row]), PAPER))


@pytest.mark.usefixtures("_small")
@pytest.mark.parametrize("wrong", [1.001, torch.nan])
def test_a_wrong_kernel_is_not_timed(monkeypatch, wrong):
    right = bench.packed_linear
    monkeypatch.setattr(bench, "packed_linear", lambda *given: wrong * right(*given))
    monkeypatch.setattr(bench, "Timer", None)
    shape, random = case()
    with pytest.raises(RadioError, match="is wrong by"):
        bench.measure(shape, [random], torch.device("cpu"), rounds=3)


def test_other_rates_have_no_value_of_the_paper():
    rows = [{"embedding_dim": 1024, "matrix": "ExE", "asked_bits": bits} for bits in (2.0, 3.0)]
    table = with_paper(pd.DataFrame([*rows, {"embedding_dim": 0, "matrix": ""}]), PAPER)
    assert table.speedup_fp16_paper.isna().tolist() == [True, False, True]


@pytest.mark.usefixtures("_small")
def test_the_step_writes_a_table_for_machines_and_readers(tmp_path):
    allocation = tmp_path / "3.safetensors"
    save_depths(allocation, {"layer": torch.full((2, 40), 3, dtype=torch.uint8)})
    config = {"model": {"name": "some"}, "method": {"name": "radio"}, "rate_bits": 3}
    write_json(tmp_path / "3.json", {"config": config, "measured": {}})
    sizes = ["embedding_dims=[16]", "shapes=[[24,40],[10000000,10000000]]", "group_rows=16"]
    given = [f"out={tmp_path}/table.csv", f"artifacts.allocation=['{allocation}']"]
    run("bench", [*given, *sizes, "mean_bits=[2,3]", "rounds=1"])
    table = pd.read_csv(tmp_path / "table.csv")
    assert table.rows.tolist() == [16] * 6 + [64] * 3 + [24] * 3
    assert table.asked_bits.tolist() == [2, 3, 3] * 4
    assert table.bits_depth[table.source == "some radio"].tolist() == [3.0] * 4
    assert len((tmp_path / "table.md").read_text().split("\n|")) == 12 + 2 + 1
    assert read_manifest(tmp_path / "table.csv")["measured"]["too_large"] == [[10**7, 10**7]]
