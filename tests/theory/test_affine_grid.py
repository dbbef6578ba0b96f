"""Affine grids: ends of the range, optimal clipping against trying all, extremes."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from radio.theory.affine_grid import CLIP_STEPS, Grid, clipped_grid, decode, encode, min_max_grid

BITS = st.integers(1, 5)


def runs(seed: int, numel: int = 24) -> torch.Tensor:
    """Five runs with heavy tails and different centres, not contiguous."""
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(numel, 5, generator=generator).T ** 3
    return weight + torch.randn(5, 1, generator=generator)


def squared_error(weight: torch.Tensor, grid: Grid, bits: int) -> torch.Tensor:
    return (decode(encode(weight, grid, bits), grid) - weight).double().square().sum(dim=1)


@settings(max_examples=25)
@given(seed=st.integers(0, 50), bits=BITS, symmetric=st.booleans())
def test_clipping_finds_the_best_of_all_steps_and_zero_points(seed, bits, symmetric):
    """Against rounding the weights to each candidate; float16 scales, as they are stored."""
    weight = runs(seed)
    low, high = weight.amin(dim=1).clamp(max=0), weight.amax(dim=1).clamp(min=0)
    width = 2 * torch.maximum(-low, high) if symmetric else high - low
    zeros = [2 ** (bits - 1)] if symmetric else range(2**bits)
    tried = [
        squared_error(weight, Grid(scale.half(), torch.full((5,), zero, dtype=torch.uint8)), bits)
        for scale in (width / (2**bits - 1) * i / CLIP_STEPS for i in range(1, CLIP_STEPS + 1))
        for zero in zeros
    ]
    best = torch.stack(tried).amin(dim=0)
    found = clipped_grid(weight, bits, symmetric=symmetric)
    torch.testing.assert_close(squared_error(weight, found, bits), best, rtol=1e-5, atol=1e-9)


@given(seed=st.integers(0, 50), bits=BITS, symmetric=st.booleans())
def test_clipping_is_never_worse_than_the_whole_range(seed, bits, symmetric):
    weight = runs(seed)
    clipped, whole = (f(weight, bits, symmetric=symmetric) for f in (clipped_grid, min_max_grid))
    ratio = squared_error(weight, clipped, bits) / squared_error(weight, whole, bits)
    assert (ratio <= 1 + 1e-5).all()


def test_clipping_gains_most_where_levels_are_few():
    """Rows of 500 weights with heavy tails: half the error at 3 bits, nothing at 8."""
    weight = torch.distributions.StudentT(5.0).sample((50, 500))
    ratios = [
        float((squared_error(weight, clipped_grid(weight, bits), bits)).sum())
        / float(squared_error(weight, min_max_grid(weight, bits), bits).sum())
        for bits in (2, 3, 4, 8)
    ]
    assert ratios == sorted(ratios) and ratios[1] < 0.6 and ratios[3] > 0.99


def test_runs_are_clipped_alike_in_any_company(monkeypatch):
    weight = runs(0)
    together = clipped_grid(weight, 3)
    monkeypatch.setattr("radio.theory.affine_grid.CLIP_CHUNK", 1)
    for one, many in zip(clipped_grid(weight, 3), together, strict=True):
        assert torch.equal(one, many)


def test_a_symmetric_range_is_gptqs():
    """Scale 2 max|w| / (2^B - 1), zero point 2^(B-1)."""
    weight = torch.tensor([[-1.5, 0.5, 1.0], [0.0, 0.25, 3.0]])
    grid = min_max_grid(weight, 3, symmetric=True)
    assert torch.equal(grid.scale, (torch.tensor([3.0, 6.0]) / 7).half())
    assert grid.zero.tolist() == [4, 4]


def test_zero_is_a_level():
    for fit in (min_max_grid, clipped_grid):
        for symmetric in (False, True):
            weight = runs(1).abs() + 1
            weight[:, 0] = 0
            grid = fit(weight, 3, symmetric=symmetric)
            assert (decode(encode(weight, grid, 3), grid)[:, 0] == 0).all()


@pytest.mark.parametrize("fit", [min_max_grid, clipped_grid])
@pytest.mark.parametrize("fill", [0.0, 0.5, -0.5, 1e-9, 60000.0])
def test_flat_runs(fill, fit):
    weight = torch.full((2, 8), fill)
    grid = fit(weight, 3)
    decoded = decode(encode(weight, grid, 3), grid)
    torch.testing.assert_close(decoded, weight, rtol=1e-3, atol=1e-7)
    grid = fit(weight, 3, symmetric=True)
    error = (decode(encode(weight, grid, 3), grid) - weight).abs()
    assert (error <= 0.51 * grid.scale.float()[:, None]).all()


def test_values_on_a_clipped_lattice_are_exact():
    """Clipping a lone outlier pays; clipping a lattice that the range already hits does not."""
    codes = torch.arange(16).repeat(4)[None]
    weight = (codes - 5.0) * 0.25
    assert squared_error(weight, clipped_grid(weight, 4), 4) == 0
