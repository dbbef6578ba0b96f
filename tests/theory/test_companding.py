"""The companded quantizer: closed forms, fixed points, exact cell integrals, optimal search."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from radio.theory.companding import (
    SEARCH_GRID,
    compand,
    decode,
    encode,
    expand,
    levels,
    search,
    thresholds,
)

# distortion of the best companded quantizer at high rate, of a unit-variance Laplace: c 4^-B
PANTER_DITE_LAPLACE = 9 / 2


def companded_mse(bits: int) -> float:
    """Mean squared error on a unit-variance Laplace density, integrated exactly cell by cell."""
    rate = math.sqrt(2)
    points = [float(v) for v in levels(bits)]
    edges = [-math.inf, *(float(v) for v in thresholds(bits)), math.inf]

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


def test_compander_is_the_cube_root_law():
    """du/dw is the normalised cube root of a unit-variance Laplace density."""
    w = torch.linspace(-6, 6, 2001, dtype=torch.float64)
    slope = torch.gradient(compand(w), spacing=(w,))[0]
    cube_root = torch.exp(-math.sqrt(2) * w.abs()) ** (1 / 3)
    normalised = cube_root * math.sqrt(2) / 6  # integral of exp(-sqrt2 |w| / 3) is 6 / sqrt2
    smooth = (w.abs() > 0.02) & (w.abs() < 5.99)  # the kink, and one-sided differences
    torch.testing.assert_close(slope[smooth], normalised[smooth], rtol=1e-4, atol=1e-7)


@given(st.floats(-20, 20))
def test_expand_inverts_compand(w):
    value = torch.tensor([w], dtype=torch.float64)
    torch.testing.assert_close(expand(compand(value)), value, rtol=1e-6, atol=1e-9)


@given(bits=st.integers(0, 8), seed=st.integers(0, 99))
def test_codebook_is_a_fixed_point(bits, seed):
    generator = torch.Generator().manual_seed(seed)
    codes = torch.randint(0, 2**bits, (3, 40), generator=generator)
    location, scale = torch.randn(3, generator=generator), torch.rand(3, generator=generator) + 0.1
    weight = decode(codes, location, scale, bits)
    assert torch.equal(encode(weight, location, scale, bits), codes)


@pytest.mark.parametrize("bits", range(1, 9))
def test_cells_are_equal_in_the_companded_domain(bits):
    """Encoding by thresholds is floor(u 2^B), decoding the middle of the cell."""
    w = torch.linspace(-9, 9, 4001)
    codes = encode(w[None], torch.zeros(1), torch.ones(1), bits)[0]
    u = compand(w.double()) * 2**bits
    inside = (u - u.round()).abs() > 1e-5  # float32 thresholds decide ties either way
    assert torch.equal(codes[inside], u.floor().long().clamp(0, 2**bits - 1)[inside])
    middles = compand(levels(bits).double()) * 2**bits
    torch.testing.assert_close(
        middles, torch.arange(2**bits, dtype=torch.float64) + 0.5, rtol=0, atol=1e-4
    )


def squared_error(groups, location, scale, bits):
    return (decode(encode(groups, location, scale, bits), location, scale, bits) - groups).square()


@pytest.mark.parametrize("bits", range(0, 6))
def test_search_finds_the_best_point_of_the_grid(bits):
    """Against trying every candidate by quantizing all weights."""
    groups = torch.randn(5, 97, generator=torch.Generator().manual_seed(bits)) * 0.1 + 0.02
    location = groups.median(dim=1).values
    scale = (groups - location[:, None]).square().mean(dim=1).sqrt()
    found_location, found_scale = search(groups, location, scale, bits)

    half = location.half().float()
    scales = [(scale * f).half().float() for f in torch.exp2(SEARCH_GRID)]
    errors = torch.stack([squared_error(groups, half, s, bits).sum(1) for s in scales])
    if bits:  # at depth 0 every scale is equally good, and the first is taken
        best_scale = torch.stack(scales).gather(0, errors.argmin(0)[None])[0]
        torch.testing.assert_close(found_scale, best_scale)
    shifts = [(half + found_scale * g).half().float() for g in SEARCH_GRID]
    errors = torch.stack([squared_error(groups, s, found_scale, bits).sum(1) for s in shifts])
    found = squared_error(groups, found_location, found_scale, bits).sum(1)
    torch.testing.assert_close(found, errors.amin(0), rtol=1e-5, atol=0)


def test_search_result_survives_float16_storage():
    groups = torch.randn(4, 64, generator=torch.Generator().manual_seed(0))
    location, scale = search(groups, groups.median(1).values, groups.std(1), 3)
    assert torch.equal(location, location.half().float())
    assert torch.equal(scale, scale.half().float())


@pytest.mark.parametrize("bits", [0, 1, 3, 8])
def test_constant_group_is_exact(bits):
    groups = torch.full((1, 10), 0.25)
    location, scale = search(groups, torch.tensor([0.25]), torch.tensor([0.0]), bits)
    codes = encode(groups, location, scale, bits)
    assert torch.equal(decode(codes, location, scale, bits), groups)
