"""Integers of 1 to 8 bits, packed without gaps."""

import torch
from jaxtyping import Int, UInt8
from torch import Tensor


def packed_bytes(count: int, bits: int) -> int:
    """Return the bytes of `count` packed integers of `bits` bits: eight fill `bits` bytes."""
    return -(-count // 8) * bits


def pack(codes: Int[Tensor, " count"] | UInt8[Tensor, " count"], bits: int) -> UInt8[Tensor, " b"]:
    """Pack integers in [0, 2^bits) little-endian, eight to `bits` bytes.

    Raises:
        ValueError: `bits` is outside 0..8, or a code does not fit.
    """
    if not 0 <= bits <= 8:
        raise ValueError(f"bits={bits} is outside 0..8")
    if len(codes) and (int(codes.min()) < 0 or int(codes.max()) >= 2**bits):
        raise ValueError(f"a code does not fit in {bits} bits")
    padded = torch.nn.functional.pad(codes.to(torch.int64), (0, -len(codes) % 8)).view(-1, 8)
    words = (padded << (bits * torch.arange(8))).sum(dim=1)
    return words.view(torch.uint8).view(-1, 8)[:, :bits].flatten()


def unpack(packed: UInt8[Tensor, " b"], bits: int, count: int) -> UInt8[Tensor, " count"]:
    """Inverse of `pack`.

    Raises:
        ValueError: the length of `packed` does not match `count` codes.
    """
    if len(packed) != packed_bytes(count, bits):
        raise ValueError(f"{len(packed)} bytes do not hold {count} codes of {bits} bits")
    if bits == 0:
        return torch.zeros(count, dtype=torch.uint8)
    words = torch.zeros(len(packed) // bits, 8, dtype=torch.uint8)
    words[:, :bits] = packed.view(-1, bits)
    codes = words.view(torch.int64) >> (bits * torch.arange(8))
    return codes.bitwise_and_(2**bits - 1).flatten()[:count].to(torch.uint8)
