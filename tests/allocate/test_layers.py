"""Allocation over layers: solvers, measured errors, order of layers and groups, refusals."""

import pytest
import torch

from radio.allocate.depths import Depths, load_distortion, save_distortion
from radio.allocate.layers import allocate_layers, share_at_depth_zero
from radio.calibrate.statistics import LayerStatistics
from radio.runtime.errors import RadioError


@pytest.fixture
def statistics():
    """Three layers of one or two clusters, with sensitivities over many decades."""
    generator = torch.Generator().manual_seed(0)
    found = {}
    for name, rows, cols, clusters in (("a", 33, 20, 2), ("b", 12, 30, 1), ("c", 64, 10, 2)):
        draw = torch.randn(2, clusters, cols, generator=generator)
        found[name] = LayerStatistics(
            cluster=torch.arange(rows) % clusters,
            grad_var=torch.exp(4 * draw[0]),
            weight_var=torch.exp(0.5 * draw[1]),
            input_mean=torch.zeros(cols),
        )
    return found


def measured_like(statistics, factor: float = 1.0):
    """Errors as the high-resolution model has them."""
    law = factor * torch.exp2(-2.0 * torch.arange(9))
    return {name: entry.weight_var[..., None] * law for name, entry in statistics.items()}


def rate_of(statistics, depths: Depths) -> float:
    cluster = {name: entry.cluster for name, entry in statistics.items()}
    by_weight = [depth[cluster[name]].double().flatten() for name, depth in depths.items()]
    return float(torch.cat(by_weight).mean())


def total_of(statistics, depths: Depths) -> float:
    total = 0.0
    for name, entry in statistics.items():
        error = entry.grad_var * entry.weight_var * torch.exp2(-2.0 * depths[name].float())
        total += float(error[entry.cluster].sum())
    return total


@pytest.mark.parametrize("solver", ["ascent", "exact", "uniform"])
def test_every_solver_reaches_the_rate_that_it_reports(statistics, solver):
    depths, allocation = allocate_layers(statistics, 3.0, solver)
    assert allocation.rate_bits == pytest.approx(rate_of(statistics, depths))
    assert allocation.rate_bits == pytest.approx(3.0, abs=0.02)
    for name, entry in statistics.items():
        assert depths[name].shape == entry.grad_var.shape


def test_order_of_the_solvers(statistics):
    """At the rate that dual ascent reaches, exact depths are no worse; one depth is far worse."""
    ascent, allocation = allocate_layers(statistics, 3.0, "ascent")
    exact, _ = allocate_layers(statistics, allocation.rate_bits, "exact")
    uniform, _ = allocate_layers(statistics, 3.0, "uniform")
    # unequal groups leave a few weights of the budget
    assert total_of(statistics, exact) < 1.01 * total_of(statistics, ascent)
    assert total_of(statistics, exact) < 0.1 * total_of(statistics, uniform)


def test_measured_errors_that_follow_the_model_change_nothing(statistics):
    modelled, _ = allocate_layers(statistics, 2.5, "exact")
    measured, _ = allocate_layers(statistics, 2.5, "exact", measured_like(statistics, 0.7))
    assert all(torch.equal(modelled[name], measured[name]) for name in modelled)


def test_measured_errors_move_bits_to_where_they_help(statistics):
    """A layer whose error does not fall after 2 bits gets no more than 2."""
    tables = measured_like(statistics)
    tables["b"][..., 3:] = tables["b"][..., 2:3]
    depths, _ = allocate_layers(statistics, 3.0, "exact", tables)
    assert depths["b"].max() <= 2 and depths["a"].max() > 2


def test_share_at_depth_zero_counts_weights(statistics):
    depths = {
        name: torch.ones_like(e.grad_var, dtype=torch.uint8) for name, e in statistics.items()
    }
    depths["a"][0, 0] = 0  # 17 of the 33 rows
    assert share_at_depth_zero(statistics, depths) == 17 / (33 * 20 + 12 * 30 + 64 * 10)


def test_distortion_file_round_trip(statistics, tmp_path):
    tables = measured_like(statistics)
    save_distortion(tmp_path / "d.safetensors", tables)
    loaded = load_distortion(tmp_path / "d.safetensors")
    assert loaded.keys() == tables.keys()
    assert all(torch.equal(loaded[name], tables[name]) for name in tables)


@pytest.mark.parametrize(
    "rate, solver, words",
    [
        (2.5, "uniform", "does not suit method.solver=uniform"),
        (9.0, "exact", "is not a rate"),
        (3.0, "exactly", "is unknown: set one of ascent, exact, uniform"),
    ],
)
def test_refuses_rates_and_solvers(statistics, rate, solver, words):
    with pytest.raises(RadioError, match=words):
        allocate_layers(statistics, rate, solver)


def test_refuses_errors_that_do_not_fit(statistics):
    tables = measured_like(statistics)
    with pytest.raises(RadioError, match=r"not read by method\.solver=ascent"):
        allocate_layers(statistics, 3.0, "ascent", tables)
    with pytest.raises(RadioError, match="other layers or groups"):
        allocate_layers(statistics, 3.0, "exact", tables | {"a": tables["b"]})
    del tables["a"]
    with pytest.raises(RadioError, match="other layers or groups"):
        allocate_layers(statistics, 3.0, "exact", tables)
