"""Exact quantization error on a normal density: closed forms, limits, an independent integral."""

import math

import pytest
import torch

from radio.theory.codebook import companded
from radio.theory.gaussian import gaussian_mse


def uniform(levels: int, half_range: float):
    """Middles of equal cells over [-half_range, half_range], and the boundaries between them."""
    edges = torch.linspace(-half_range, half_range, levels + 1, dtype=torch.float64)
    return (edges[1:] + edges[:-1]) / 2, edges[1:-1]


def test_one_level_at_zero_leaves_the_variance():
    assert gaussian_mse(torch.zeros(1), torch.zeros(0)) == pytest.approx(1, abs=1e-15)
    assert gaussian_mse(torch.ones(1), torch.zeros(0)) == pytest.approx(2, abs=1e-15)


def test_lloyd_max():
    """1 bit: levels +-sqrt(2/pi), error 1 - 2/pi. 2 bits: Max's table (1960), four digits."""
    level = math.sqrt(2 / math.pi)
    one_bit = gaussian_mse(
        torch.tensor([-level, level], dtype=torch.float64), torch.zeros(1, dtype=torch.float64)
    )
    assert one_bit == pytest.approx(1 - 2 / math.pi, abs=1e-14)
    two_bits = gaussian_mse(
        torch.tensor([-1.510, -0.4528, 0.4528, 1.510]), torch.tensor([-0.9816, 0.0, 0.9816])
    )
    assert two_bits == pytest.approx(0.1175, abs=5e-5)


def test_fine_uniform_cells_leave_a_twelfth_of_their_square():
    """Bennett's limit, step^2 / 12, once the range holds all of the density."""
    half_range = 9.0  # beyond it lies 1e-19 of the density
    for levels in (32, 256):  # steps of 0.56 standard deviations and less
        step = 2 * half_range / levels
        assert gaussian_mse(*uniform(levels, half_range)) == pytest.approx(step**2 / 12, rel=1e-4)


def test_overload_is_counted():
    """A range of nearly nothing is a single level at zero."""
    assert gaussian_mse(*uniform(16, 1e-9)) == pytest.approx(1, abs=1e-8)


@pytest.mark.parametrize("bits", [1, 4, 8])
def test_equals_a_numerical_integral(bits):
    levels, thresholds = companded(bits)
    w = torch.linspace(-12, 12, 2_000_001, dtype=torch.float64)
    error = (levels.double()[torch.bucketize(w, thresholds.double())] - w).square()
    density = torch.exp(-w.square() / 2) / math.sqrt(2 * math.pi)
    # the trapezoid rule's error at the 2^bits jumps is below the step, 1.2e-5, times the jump
    integral = float(torch.trapezoid(error * density, w))
    assert gaussian_mse(levels, thresholds) == pytest.approx(integral, abs=1e-7)


def test_refuses_tables_that_do_not_fit():
    with pytest.raises(ValueError, match="2 thresholds do not separate 2 levels"):
        gaussian_mse(torch.zeros(2), torch.zeros(2))
    with pytest.raises(ValueError, match="rising order"):
        gaussian_mse(torch.zeros(3), torch.tensor([1.0, 0.0]))
