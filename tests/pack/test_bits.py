"""Bit packing: exact round trips, exact sizes."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from radio.pack.bits import pack, packed_bytes, unpack


@given(bits=st.integers(0, 8), count=st.integers(0, 300), seed=st.integers(0, 999))
def test_round_trip_and_exact_size(bits, count, seed):
    codes = torch.randint(0, 2**bits, (count,), generator=torch.Generator().manual_seed(seed))
    packed = pack(codes, bits)
    assert len(packed) == packed_bytes(count, bits) < (count + 8) * bits / 8 + 1
    assert torch.equal(unpack(packed, bits, count).long(), codes)


def test_layout_is_little_endian():
    """Bit k of the stream is bit k % 8 of byte k // 8, so that any language can read it."""
    codes = torch.tensor([0b101, 0b011, 0b110, 0, 0, 0, 0, 0b111])
    stream = "".join(f"{c:03b}"[::-1] for c in codes.tolist())
    expected = [int(stream[k : k + 8][::-1], 2) for k in range(0, 24, 8)]
    assert pack(codes, 3).tolist() == expected


@pytest.mark.parametrize("code, bits", [(4, 2), (-1, 2), (1, 0)])
def test_refuses_codes_that_do_not_fit(code, bits):
    with pytest.raises(ValueError, match="does not fit"):
        pack(torch.tensor([code]), bits)


def test_refuses_wrong_depth_and_length():
    with pytest.raises(ValueError, match="bits=9"):
        pack(torch.tensor([0]), 9)
    with pytest.raises(ValueError, match="do not hold"):
        unpack(torch.zeros(2, dtype=torch.uint8), 3, 8)
