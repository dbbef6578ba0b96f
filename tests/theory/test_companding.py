"""The companding law: the cube root of a Laplace density, and its inverse."""

import math

import torch
from hypothesis import given
from hypothesis import strategies as st

from radio.theory.companding import compand, expand


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
