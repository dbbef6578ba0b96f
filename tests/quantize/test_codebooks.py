"""The codebook of a model: sampled from all layers, the same every time, one small file."""

import pytest
import torch

from radio.calibrate.statistics import LayerStatistics
from radio.quantize.codebooks import fit_codebooks, load_codebooks, save_codebooks
from radio.runtime.errors import RadioError
from radio.theory.codebook import uniform
from radio.theory.grouping import cluster_mean


@pytest.fixture
def weights():
    generator = torch.Generator().manual_seed(0)
    shapes = {"a": (64, 30), "b": (65, 40), "c": (16, 20)}
    return {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}


@pytest.fixture
def statistics(weights):
    """Gradient variances that are the groups' mean squared weights."""
    found = {}
    for name, weight in weights.items():
        clusters = 2 if len(weight) > 16 else 1
        cluster = torch.arange(len(weight)) % clusters
        power = cluster_mean(weight.square(), cluster, clusters)
        found[name] = LayerStatistics(cluster, power, power, torch.zeros(weight.shape[1]))
    return found


def captured(monkeypatch) -> list:
    """Whatever groups are learned from."""
    seen = []

    def learn(batches):
        seen.extend(batches)
        return (torch.zeros(1),)

    monkeypatch.setattr("radio.quantize.codebooks.learn_codebooks", learn)
    return seen


def test_depends_on_the_seed_alone(weights, statistics, monkeypatch):
    monkeypatch.setattr("radio.quantize.codebooks.SAMPLED_GROUPS", 60)
    first, again, other = (fit_codebooks(weights, statistics, seed) for seed in (0, 0, 1))
    assert all(map(torch.equal, first, again))
    assert not torch.equal(first[3], other[3])


def test_every_group_is_in_the_sample_of_all(weights, statistics, monkeypatch):
    seen = captured(monkeypatch)
    fit_codebooks(weights, statistics, 0)
    rows = {tuple(row.tolist()) for batch in seen for row in batch}
    wanted = {
        tuple(weight[statistics[name].cluster == c, col].tolist())
        for name, weight in weights.items()
        for c in statistics[name].cluster.unique()
        for col in range(weight.shape[1])
    }
    assert rows == wanted and sum(len(batch) for batch in seen) == len(wanted)


def test_file_holds_510_numbers(tmp_path):
    levels = tuple(uniform(bits).levels for bits in range(9))
    save_codebooks(tmp_path / "c.safetensors", levels)
    assert all(map(torch.equal, load_codebooks(tmp_path / "c.safetensors"), levels))
    assert (tmp_path / "c.safetensors").stat().st_size < 1020 + 256


def test_refuses_a_model_of_constants(weights, statistics):
    constant = {name: torch.full_like(weight, 0.5) for name, weight in weights.items()}
    with pytest.raises(RadioError, match="no codebook can be learned"):
        fit_codebooks(constant, statistics, 0)


def test_refuses_statistics_of_another_model(weights, statistics):
    del statistics["a"]
    with pytest.raises(RadioError, match=r"artifacts\.statistics belongs to a model"):
        fit_codebooks(weights, statistics, 0)
