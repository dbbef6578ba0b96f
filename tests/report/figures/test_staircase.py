"""The staircases and the written errors are those of the quantizers."""

import math

import matplotlib.patches
import pytest
import torch

from radio.report.figures.staircase import staircase
from radio.runtime.errors import RadioError
from radio.theory.codebook import companded as law
from radio.theory.codebook import decode, encode
from radio.theory.gaussian import gaussian_mse
from tests.report.figures.conftest import assert_equal_bytes, assert_half_a_page_without_overlaps


def stairs_of(axes):
    (patch,) = [p for p in axes.patches if isinstance(p, matplotlib.patches.StepPatch)]
    return patch.get_data()


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_uniform_steps_are_equal_and_fill_the_range(bits):
    uniform, _ = staircase(bits, 4.0).axes
    levels, edges, _ = stairs_of(uniform)
    assert len(levels) == 2**bits
    assert levels == pytest.approx((torch.arange(2**bits) + 0.5) * 8 / 2**bits - 4)
    # the outermost cells are drawn to the edge of the panel
    assert edges[1:-1] == pytest.approx((torch.arange(1, 2**bits)) * 8 / 2**bits - 4)
    assert (edges[0], edges[-1]) == uniform.get_xlim()


@pytest.mark.parametrize("bits", [1, 4, 8])
def test_companded_steps_are_those_of_the_encoder(bits):
    """The staircase maps a weight to its value after encoding and decoding."""
    _, companded = staircase(bits, 4.0).axes
    levels, edges, _ = stairs_of(companded)
    middles = torch.tensor((edges[1:] + edges[:-1]) / 2, dtype=torch.float32)[None]
    zero, one = torch.zeros(1), torch.ones(1)
    decoded = decode(encode(middles, zero, one, law(bits)), zero, one, law(bits))
    assert levels == pytest.approx(decoded[0].numpy(), rel=1e-6)


def test_errors_are_written():
    uniform, companded = staircase(4, 4.0).axes
    levels = (torch.arange(16) + 0.5) / 2 - 4
    error = gaussian_mse(levels, levels[:-1] + 0.25)
    assert [text.get_text() for text in uniform.texts] == [f"MSE\n{error:.3g} σ²"]
    error = gaussian_mse(*law(4))
    assert [text.get_text() for text in companded.texts] == [f"MSE\n{error:.3g} σ²"]


@pytest.mark.parametrize("bits, half_range", [(1, 4.0), (4, 4.0), (8, 5.5)])
def test_it_is_legible(bits, half_range):
    assert_half_a_page_without_overlaps(staircase(bits, half_range))


def test_equal_arguments_give_equal_bytes(tmp_path):
    assert_equal_bytes(lambda: staircase(4, 4.0), tmp_path)


@pytest.mark.parametrize(
    "bits, half_range, message",
    [(0, 4.0, "bits=0"), (9, 4.0, "bits=9"), (4, 0.0, "half_range=0.0"), (4, math.inf, "inf")],
)
def test_invalid_quantizers_are_refused(bits, half_range, message):
    with pytest.raises(RadioError, match=message):
        staircase(bits, half_range)
