"""Stored lines: near what was asked, unchanged by another store, nothing out of reach."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from radio.theory.scale_codec import REACH, SCALE_STEPS, STORES, from_bytes, in_bytes, to_bytes

OCTAVES = st.floats(-18, 10)
SIGNS = st.sampled_from([-1.0, 0.0, 1.0])


def line(location: float, scale: float) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.tensor([location]), torch.tensor([scale])


@given(OCTAVES, st.floats(-12, 12), SIGNS)
def test_in_bytes_is_near(octave, distance, sign):
    """The scale to a half step, but for what the location needs; the location to 3% or 1/8000."""
    scale = 2.0**octave
    location = sign * scale * 2.0**distance
    stored_location, stored_scale = (float(part) for part in in_bytes(*line(location, scale)))
    half_step = 2 ** (1 / SCALE_STEPS / 2) * 1.002  # and float16
    if abs(location) <= REACH * scale / half_step:
        assert 1 / half_step <= stored_scale / scale <= half_step
    else:
        assert stored_scale * REACH * half_step >= min(abs(location), 1e4)
    if abs(location) < 2.0**11:
        allowed = 0.031 * abs(location) + stored_scale / 8000 + 2.0**-24
        assert abs(stored_location - location) <= allowed


@pytest.mark.parametrize("scale_bits", STORES)
@given(OCTAVES, st.floats(-20, 4), SIGNS)
def test_what_a_store_returns_it_leaves(scale_bits, octave, distance, sign):
    scale = 2.0**octave
    once = STORES[scale_bits](*line(sign * scale * 2.0**distance, scale))
    again = STORES[scale_bits](*once)
    assert all(map(torch.equal, once, again))
    assert all(torch.equal(part, part.half().float()) for part in once)


def test_every_pair_of_bytes_comes_back_as_the_same_line():
    scales = torch.arange(256).to(torch.uint8)
    locations = torch.arange(-127, 128).to(torch.int8)
    pairs = locations.repeat_interleave(256), scales.repeat(255)
    decoded = from_bytes(*pairs)
    assert all(part.isfinite().all() for part in decoded)
    back = from_bytes(*to_bytes(*(part.float() for part in decoded)))
    assert all(map(torch.equal, decoded, back))


def test_no_spread_and_no_place():
    location, scale = in_bytes(torch.tensor([0.0, 0.0, 0.25, -3.0]), torch.tensor([0.0, -1, 0, 0]))
    assert scale[:2].tolist() == [0, 0] and location[:2].tolist() == [0, 0]
    torch.testing.assert_close(location[2:], torch.tensor([0.25, -3.0]), rtol=0.03, atol=0)
