"""The rate-distortion allocation: feasibility, optimality, equivariance, edges."""

import itertools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from radio.theory.allocation import allocate_bits, depths_at_price, distortion, mean_bits


def problem(seed: int, groups: int = 400):
    """Sensitivities over ten decades, as in a network, and unequal group sizes."""
    generator = torch.Generator().manual_seed(seed)
    sensitivity = torch.exp(4 * torch.randn(groups, generator=generator))
    return sensitivity, torch.randint(1, 600, (groups,), generator=generator)


@given(seed=st.integers(0, 10_000), rate=st.floats(0.05, 7.95))
def test_meets_the_rate(seed, rate):
    """Within one group's weight of the target, and the rate it reports is the rate it has."""
    s, p = problem(seed)
    allocation = allocate_bits(s, p, rate)
    assert allocation.rate_bits == pytest.approx(mean_bits(allocation.depths, p), abs=1e-9)
    assert allocation.rate_bits == pytest.approx(rate, abs=1.01 * float(p.max() / p.sum()))


@given(seed=st.integers(0, 10_000), rate=st.floats(0.5, 7.0))
def test_kkt(seed, rate):
    """Every depth is the best integer at the common price: no move of one bit pays."""
    s, p = problem(seed)
    allocation = allocate_bits(s, p, rate)
    real = depths_at_price(s.double(), allocation.log2_price)
    assert torch.equal(allocation.depths, real.round().long())
    interior = (real > 0) & (real < 8)
    slope = 2 * math.log(2) * s.double() * torch.exp2(-2 * real)
    price = torch.tensor(2.0, dtype=torch.float64) ** allocation.log2_price
    torch.testing.assert_close(slope[interior], price.expand_as(slope)[interior])
    assert (slope[real == 0] <= price * (1 + 1e-9)).all()
    assert (slope[real == 8] >= price * (1 - 1e-9)).all()


def test_close_to_brute_force():
    """No integer allocation of the same or a lower rate is better by more than the rounding."""
    s, p = torch.tensor([9.0, 2.0, 0.5, 0.02]), torch.tensor([3, 1, 2, 2])
    for rate in (1.0, 2.0, 3.0):
        allocation = allocate_bits(s, p, rate)
        best = min(
            distortion(s, p, torch.tensor(depths))
            for depths in itertools.product(range(9), repeat=4)
            if mean_bits(torch.tensor(depths), p) <= allocation.rate_bits + 1e-9
        )
        # rounding a real depth to the nearest integer costs at most a factor 4^(1/2) a group
        assert best <= distortion(s, p, allocation.depths) <= 2 * best


@given(seed=st.integers(0, 1000))
def test_distortion_falls_with_the_rate(seed):
    s, p = problem(seed, 60)
    falling = [
        distortion(s, p, allocate_bits(s, p, rate).depths)
        for rate in (0.5, 1.0, 2.0, 3.0, 4.0, 6.0, 8.0)
    ]
    assert all(a > b for a, b in itertools.pairwise(falling))


@given(seed=st.integers(0, 1000), log2_factor=st.integers(-12, 12))
def test_only_ratios_of_sensitivities_matter(seed, log2_factor):
    s, p = problem(seed)
    moved = allocate_bits(s * 2.0**log2_factor, p, 3.0)
    assert moved.rate_bits == pytest.approx(3.0, abs=0.01)
    assert (moved.depths - allocate_bits(s, p, 3.0).depths).abs().float().mean() < 0.01


@given(seed=st.integers(0, 1000))
def test_order_of_groups_does_not_matter(seed):
    s, p = problem(seed)
    order = torch.randperm(len(s), generator=torch.Generator().manual_seed(seed))
    assert torch.equal(
        allocate_bits(s[order], p[order], 2.5).depths, allocate_bits(s, p, 2.5).depths[order]
    )


def test_all_depths_occur():
    s, p = torch.logspace(-9, 9, 2000), torch.full((2000,), 4)
    assert set(allocate_bits(s, p, 4.0).depths.tolist()) == set(range(9))


def test_full_rate_gives_every_group_all_bits():
    s, p = problem(0)
    assert (allocate_bits(s, p, 8.0).depths == 8).all()


def test_dead_groups_get_nothing():
    s, p = problem(1)
    s[:100] = 0
    allocation = allocate_bits(s, p, 3.0)
    assert (allocation.depths[:100] == 0).all()
    assert allocation.rate_bits == pytest.approx(3.0, abs=0.01)


@pytest.mark.parametrize("rate", [0.0, -1.0, 8.01, math.nan, math.inf])
def test_refuses_a_rate_out_of_range(rate):
    with pytest.raises(ValueError, match="rate_bits"):
        allocate_bits(*problem(0), rate)


@pytest.mark.parametrize("bad", [torch.tensor([1.0, -1.0]), torch.tensor([1.0, math.nan])])
def test_refuses_bad_sensitivities(bad):
    with pytest.raises(ValueError, match="negative or non-finite"):
        allocate_bits(bad, torch.ones(2, dtype=torch.int64), 3.0)
    with pytest.raises(ValueError, match="zero everywhere"):
        allocate_bits(torch.zeros(2), torch.ones(2, dtype=torch.int64), 3.0)
