"""Round to nearest: nearest levels, exact lattices, storage, refusals."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from radio.quantize.methods.base import LinearLayer
from radio.quantize.methods.rtn import Rtn
from radio.runtime.errors import RadioError
from radio.theory.affine_grid import min_max_grid


def decoded(weight: torch.Tensor, bits: int, group_cols: int | None) -> torch.Tensor:
    return Rtn(group_cols).quantize(LinearLayer("w", weight), float(bits)).weight.decode()


@given(seed=st.integers(0, 99), bits=st.integers(1, 8), group=st.sampled_from([None, 4, 5, 64]))
def test_every_weight_goes_to_its_nearest_level(seed, bits, group):
    """Against trying all 2^B levels of the group."""
    weight = torch.randn(3, 14, generator=torch.Generator().manual_seed(seed))
    result = decoded(weight, bits, group)
    for start in range(0, 14, group or 14):
        run = weight[:, start : start + (group or 14)]
        scale, zero = min_max_grid(run, bits)
        levels = scale.float()[:, None] * (torch.arange(2**bits) - zero.float()[:, None])
        nearest = (run[..., None] - levels[:, None, :]).abs().amin(dim=-1)
        error = (result[:, start : start + run.shape[1]] - run).abs()
        torch.testing.assert_close(error, nearest, rtol=0, atol=1e-6)


def test_weights_on_the_lattice_are_exact():
    """Why 4 bits in groups of 32 is no test for a model whose weights were so quantized before."""
    codes = torch.randint(0, 16, (8, 64))
    codes[:, ::32], codes[:, 1::32] = 0, 15
    weight = (codes - 7.0) * 0.25
    assert torch.equal(decoded(weight, 4, 32), weight)


def test_smaller_groups_are_closer():
    weight = torch.randn(16, 256) * torch.exp(torch.randn(16, 256))
    errors = [(decoded(weight, 3, g) - weight).square().mean() for g in (None, 128, 32)]
    assert errors[0] > errors[1] > errors[2]


@pytest.mark.parametrize("fill", [0.0, 0.5, -0.5, 1e-9])
def test_flat_groups(fill):
    weight = torch.full((2, 8), fill)
    torch.testing.assert_close(decoded(weight, 3, None), weight, rtol=1e-3, atol=1e-7)


def test_true_rate_of_groups():
    """b + (16 + b) / g bits a weight, and nothing else."""
    layer = Rtn(128).quantize(LinearLayer("w", torch.randn(32, 512)), 4.0)
    assert 8 * layer.stored_bytes() / (32 * 512) == 4 + (16 + 4) / 128


def test_a_symmetric_grid_stores_no_zero_points():
    """b + 16 / g bits a weight."""
    layer = Rtn(128, symmetric=True).quantize(LinearLayer("w", torch.randn(32, 512)), 4.0)
    assert 8 * layer.stored_bytes() / (32 * 512) == 4 + 16 / 128


@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("group_cols", [None, 100])
def test_clipping_lowers_the_error_of_every_run(group_cols, symmetric):
    weight = torch.randn(16, 256) * torch.exp(torch.randn(16, 256) / 2)
    layer = LinearLayer("w", weight)
    for start in range(0, 256, group_cols or 256):
        run = slice(start, start + (group_cols or 256))
        whole, clipped = (
            (Rtn(group_cols, symmetric, clip).quantize(layer, 3.0).weight.decode() - weight)[:, run]
            for clip in (False, True)
        )
        ratio = clipped.square().sum(dim=1) / whole.square().sum(dim=1)
        assert (ratio <= 1 + 1e-5).all() and ratio.mean() < 0.9


@pytest.mark.parametrize("rate", [0.0, -1.0, 9.0, 3.5, float("nan")])
def test_refuses_rates_it_cannot_have(rate):
    with pytest.raises(RadioError, match="rate_bits"):
        Rtn().check_rate(rate)


def test_refuses_a_group_of_no_inputs():
    with pytest.raises(RadioError, match="group_cols=0"):
        Rtn(group_cols=0)
