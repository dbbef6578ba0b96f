"""The gain of grouping: closed forms, invariances, Jensen, agreement with the allocation."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from radio.theory.allocation import depths_at_price, distortion, mean_bits
from radio.theory.grouping_gain import grouping_gain_bits, savings_bits

# what the floor of 2^(-16) of the mean changes at the sensitivities here
FLOOR_BITS = 1e-3


def problem(seed: int, groups: int = 60, spread: float = 2.0):
    generator = torch.Generator().manual_seed(seed)
    sensitivity = torch.exp(spread * torch.randn(groups, generator=generator))
    return sensitivity, torch.randint(1, 600, (groups,), generator=generator)


def test_equal_groups_gain_nothing():
    numel = torch.tensor([1, 5, 9])
    assert grouping_gain_bits(torch.full((3,), 0.3), numel) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("ratio", [1.0, 4.0, 64.0])
def test_two_groups(ratio):
    """Equal sizes: 1/2 log2((1 + r) / (2 sqrt r))."""
    gain = grouping_gain_bits(torch.tensor([1.0, ratio]), torch.tensor([7, 7]))
    expected = 0.5 * torch.log2(torch.tensor((1 + ratio) / (2 * ratio**0.5)))
    assert gain == pytest.approx(float(expected), abs=FLOOR_BITS)


@given(seed=st.integers(0, 1000))
def test_depths_of_their_own_reach_the_same_distortion_at_the_lower_rate(seed):
    """Against the allocation itself, at a price where nothing is clamped."""
    s, p = problem(seed, spread=0.5)
    s = s.double()
    depths = depths_at_price(s, -6.0)
    assert depths.min() > 0 and depths.max() < 8
    one_depth = mean_bits(depths, p) + grouping_gain_bits(s, p)
    alike = distortion(s, p, torch.full_like(depths, one_depth))
    # d ln(distortion) = 2 ln 2 dB
    assert alike == pytest.approx(distortion(s, p, depths), rel=2 * FLOOR_BITS)
    torch.testing.assert_close(one_depth - depths, savings_bits(s, p), rtol=0, atol=2 * FLOOR_BITS)


@given(seed=st.integers(0, 1000), log10_factor=st.integers(-20, 20))
def test_only_ratios_matter(seed, log10_factor):
    s, p = problem(seed)
    s = s.double()
    moved = grouping_gain_bits(s * 10.0**log10_factor, p * 3)
    assert moved == pytest.approx(grouping_gain_bits(s, p), abs=1e-9)


@given(seed=st.integers(0, 1000), spread=st.floats(0, 20))
def test_finer_groups_never_gain_less(seed, spread):
    """Even where sensitivities span more than the floor, or vanish."""
    s, p = problem(seed, 60, spread)
    s, p = s.reshape(20, 3).double(), p.reshape(20, 3)
    s[0, 0] = 0
    merged = (s * p).sum(dim=1) / p.sum(dim=1)
    assert grouping_gain_bits(s, p) >= grouping_gain_bits(merged, p.sum(dim=1)) - 1e-9


def test_a_group_without_sensitivity_saves_the_deepest_depth():
    savings = savings_bits(torch.tensor([1.0, 0.0]), torch.tensor([99, 1]))
    assert savings[1] == pytest.approx(8, abs=1e-4)


@pytest.mark.parametrize(
    "bad, message",
    [
        ([1.0, -1.0], "negative"),
        ([1.0, float("nan")], "non-finite"),
        ([0.0, 0.0], "zero everywhere"),
    ],
)
def test_refuses_bad_sensitivities(bad, message):
    with pytest.raises(ValueError, match=message):
        grouping_gain_bits(torch.tensor(bad), torch.ones(2, dtype=torch.int64))
