"""Codebooks: exact cell integrals, fixed points, the conditions of Lloyd and Max."""

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from radio.theory.codebook import (
    UNIFORM_RANGE,
    Codebook,
    companded,
    decode,
    encode,
    join,
    lloyd_max,
    nearest,
    split,
    uniform,
)
from radio.theory.companding import compand

# least mean squared error of 2^B levels on a unit Gaussian (Max, 1960)
LLOYD_MAX_GAUSSIAN = {1: 0.3634, 2: 0.1175, 3: 0.03454, 4: 0.009497, 5: 0.002499}
# distortion of the best companded quantizer at high rate, of a unit-variance Laplace: c 4^-B
PANTER_DITE_LAPLACE = 9 / 2


def companded_mse(bits: int) -> float:
    """Mean squared error on a unit-variance Laplace density, integrated exactly cell by cell."""
    rate = math.sqrt(2)
    codebook = companded(bits)
    points = codebook.levels.tolist()
    edges = [-math.inf, *codebook.thresholds.tolist(), math.inf]

    def moments(a: float) -> tuple[float, float, float]:
        """Integrals of 1, w and w^2 against the density from a >= 0 to infinity."""
        if a == math.inf:
            return 0.0, 0.0, 0.0
        tail = 0.5 * math.exp(-rate * a)
        return tail, tail * (a + 1 / rate), tail * (a * a + 2 * a / rate + 2 / rate**2)

    total = 0.0
    half = len(points) // 2
    for k in range(half, len(points)):  # the density and the cells are symmetric
        low, high = max(edges[k], 0.0), edges[k + 1]
        m0, m1, m2 = (x - y for x, y in zip(moments(low), moments(high), strict=True))
        total += m2 - 2 * points[k] * m1 + points[k] ** 2 * m0
    return 2 * total


@pytest.mark.parametrize("bits", range(1, 9))
def test_mse_approaches_panter_dite(bits):
    """The companded error undershoots c 4^-B, and the gap halves with every bit."""
    ratio = companded_mse(bits) / (PANTER_DITE_LAPLACE * 4.0**-bits)
    assert 1 - 0.1 * 2.0**-bits < ratio < 1


@given(bits=st.integers(0, 8), seed=st.integers(0, 99))
def test_codebook_is_a_fixed_point(bits, seed):
    generator = torch.Generator().manual_seed(seed)
    codes = torch.randint(0, 2**bits, (3, 40), generator=generator)
    location, scale = torch.randn(3, generator=generator), torch.rand(3, generator=generator) + 0.1
    weight = decode(codes, location, scale, companded(bits))
    assert torch.equal(encode(weight, location, scale, companded(bits)), codes)


@pytest.mark.parametrize("bits", range(1, 9))
def test_cells_are_equal_in_the_companded_domain(bits):
    """Encoding by thresholds is floor(u 2^B), decoding the middle of the cell."""
    w = torch.linspace(-9, 9, 4001)
    codes = encode(w[None], torch.zeros(1), torch.ones(1), companded(bits))[0]
    u = compand(w.double()) * 2**bits
    inside = (u - u.round()).abs() > 1e-5  # float32 thresholds decide ties either way
    assert torch.equal(codes[inside], u.floor().long().clamp(0, 2**bits - 1)[inside])
    middles = compand(companded(bits).levels.double()) * 2**bits
    torch.testing.assert_close(
        middles, torch.arange(2**bits, dtype=torch.float64) + 0.5, rtol=0, atol=1e-4
    )


@pytest.mark.parametrize("bits", range(1, 9))
def test_uniform_cells_are_equal_and_survive_float16(bits):
    levels, thresholds = uniform(bits)
    assert torch.equal(levels, levels.half().float())
    width = 2 * UNIFORM_RANGE / 2**bits
    torch.testing.assert_close(levels.diff(), torch.full((2**bits - 1,), width))
    torch.testing.assert_close(levels[0] - width / 2, torch.tensor(-UNIFORM_RANGE))
    torch.testing.assert_close(thresholds, levels[:-1] + width / 2)


@pytest.mark.parametrize("law", [companded, uniform])
def test_depth_zero_has_the_single_level_zero(law):
    levels, thresholds = law(0)
    assert levels.tolist() == [0.0] and len(thresholds) == 0


@given(seed=st.integers(0, 999), bits=st.integers(0, 6))
def test_nearest_is_nearest(seed, bits):
    generator = torch.Generator().manual_seed(seed)
    levels = torch.randn(2**bits, generator=generator).sort().values
    weight = 2 * torch.randn(3, 50, generator=generator)
    codes = encode(weight, torch.zeros(3), torch.ones(3), nearest(levels))
    reached = (weight - levels[codes]).abs()
    assert torch.equal(reached, (weight[..., None] - levels).abs().amin(-1))


def gaussian(count: int) -> torch.Tensor:
    """Quantiles of a unit Gaussian: a sample without noise."""
    u = (torch.arange(count, dtype=torch.float64) + 0.5) / count
    return math.sqrt(2) * torch.erfinv(2 * u - 1)


def mean_error(samples, codebook: Codebook, weights=None) -> float:
    errors = (samples[:, None] - codebook.levels.to(samples)).square().amin(1)
    weights = torch.ones_like(errors) if weights is None else weights
    return float((errors * weights).sum() / weights.sum())


@pytest.mark.parametrize("bits, wanted", LLOYD_MAX_GAUSSIAN.items())
def test_lloyd_max_reaches_the_known_error_on_a_gaussian(bits, wanted):
    samples = gaussian(100_000)  # their variance falls short of 1 by 2e-4
    assert mean_error(samples, lloyd_max(samples, bits)) == pytest.approx(wanted, rel=2e-3)


def test_lloyd_max_at_high_rate_approaches_panter_dite():
    """sqrt3 pi / 2 4^-B on a Gaussian: no level is lost in the tails, where samples are few."""
    samples = gaussian(100_000)
    for bits in (7, 8):
        limit = math.sqrt(3) * math.pi / 2 * 4.0**-bits
        assert mean_error(samples, lloyd_max(samples, bits)) == pytest.approx(limit, rel=0.06)


@settings(max_examples=25)
@given(seed=st.integers(0, 999), bits=st.integers(1, 4), weighted=st.booleans())
def test_lloyd_max_conditions(seed, bits, weighted):
    """Thresholds are middles of levels, levels are weighted centroids of cells."""
    generator = torch.Generator().manual_seed(seed)
    samples = torch.randn(3000, generator=generator) ** 3 + 0.5
    weights = torch.rand(3000, generator=generator) if weighted else None
    levels, thresholds = lloyd_max(samples, bits, weights)
    torch.testing.assert_close(thresholds, (levels[1:] + levels[:-1]) / 2)
    codes = torch.bucketize(samples, thresholds)
    mass = torch.ones(3000) if weights is None else weights
    total = torch.zeros(2**bits).index_add_(0, codes, mass)
    centroid = torch.zeros(2**bits).index_add_(0, codes, mass * samples) / total
    occupied = total > 0
    # it stops when a round gains less than 1e-7 of the error, a move of about its square root
    torch.testing.assert_close(levels[occupied], centroid[occupied], rtol=5e-3, atol=5e-3)


def test_lloyd_max_error_falls_with_every_round(monkeypatch):
    samples = torch.randn(5000, generator=torch.Generator().manual_seed(0)) ** 3
    errors = []
    for rounds in range(1, 12):
        monkeypatch.setattr("radio.theory.codebook.LLOYD_MAX_ROUNDS", rounds)
        errors.append(mean_error(samples, lloyd_max(samples, 3)))
    assert all(a > b for a, b in itertools.pairwise(errors))


def test_lloyd_max_of_few_values_reproduces_them():
    samples = torch.tensor([0.5, -1.0, 2.0, 0.5, 2.0, 7.0])
    for bits in (2, 3):
        assert mean_error(samples, lloyd_max(samples, bits)) == pytest.approx(0, abs=1e-12)
    same = lloyd_max(torch.full((9,), 0.25), 2)
    assert same.levels.tolist() == [0.25] * 4


def test_weights_count_like_copies():
    samples = torch.tensor([0.0, 1.0, 3.0, 7.0, 8.0, 20.0])
    copies = torch.tensor([3, 1, 2, 5, 1, 2])
    weighted = lloyd_max(samples, 1, copies.float())
    repeated = lloyd_max(samples.repeat_interleave(copies), 1)
    torch.testing.assert_close(weighted.levels, repeated.levels)


def test_a_table_holds_all_depths():
    levels = [uniform(bits).levels for bits in range(9)]
    table = join(levels)
    assert table.nbytes == 2 * (2 + 4 + 8 + 16 + 32 + 64 + 128 + 256)
    assert all(map(torch.equal, split(table), levels))
