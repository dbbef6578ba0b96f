"""Storage of a group's line (its location and scale) in 16 or 8 bits each.

A store takes (location, scale) and returns the nearest representable line in float32; it leaves a
representable line unchanged. Fits return stored lines, so that weights are encoded and decoded with
the same line.

In 8 bits, the scale is 0 or a power of 2^(1/8), the step of the grid on which the author's code
searches scales. The location is in units of its group's scale, in steps that grow with it: medians
are near zero, where the resolution is 1/4000 of the scale; in a few columns they are six scales
away.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float, Float16, Int8, UInt8
from torch import Tensor

Lines = tuple[Float[Tensor, "*groups"], Float[Tensor, "*groups"]]
Store = Callable[[Float[Tensor, "*groups"], Float[Tensor, "*groups"]], Lines]

SCALE_STEPS = 8  # per octave
LEAST_SCALE_LOG2 = -20.0
LOCATION_STEPS = 12  # steps in which (distance from 0) + 1/256 of a scale doubles
LOCATION_UNIT = 1 / 256
LOCATION_CODES = 127
REACH = LOCATION_UNIT * (2 ** (LOCATION_CODES / LOCATION_STEPS) - 1)


def in_float16(location: Float[Tensor, "*groups"], scale: Float[Tensor, "*groups"]) -> Lines:
    """Return both rounded to float16."""
    return location.half().float(), scale.half().float()


def in_bytes(location: Float[Tensor, "*groups"], scale: Float[Tensor, "*groups"]) -> Lines:
    """Return both rounded to their 8-bit values; a negative scale becomes 0."""
    found = from_bytes(*to_bytes(location, scale))
    return found[0].float(), found[1].float()


STORES: dict[int, Store] = {16: in_float16, 8: in_bytes}


def to_bytes(
    location: Float[Tensor, "*groups"], scale: Float[Tensor, "*groups"]
) -> tuple[Int8[Tensor, "*groups"], UInt8[Tensor, "*groups"]]:
    """Return the codes of the nearest location and scale.

    If the location is out of the scale's reach, the scale is the smallest that reaches it.
    """
    location = location.double()
    wanted = _octaves(scale.double()).round()
    # a location that rounds down to the last code is in reach
    needed = (_octaves(location.abs() / REACH) - 0.25).ceil()
    codes = torch.maximum(wanted, needed).clamp(0, 255).to(torch.uint8)
    unit = LOCATION_UNIT * _scales(codes).double()
    distance = torch.where(unit > 0, location.abs() / unit, 0.0)
    steps = (LOCATION_STEPS * torch.log2(1 + distance)).round().clamp(max=LOCATION_CODES)
    return (steps * location.sign()).to(torch.int8), codes


def from_bytes(
    location: Int8[Tensor, "*groups"], scale: UInt8[Tensor, "*groups"]
) -> tuple[Float16[Tensor, "*groups"], Float16[Tensor, "*groups"]]:
    """Return the line of the codes from `to_bytes`."""
    scales = _scales(scale)
    distance = torch.exp2(location.double().abs() / LOCATION_STEPS) - 1
    return (location.sign() * distance * LOCATION_UNIT * scales.double()).half(), scales


def _octaves(scale: Float[Tensor, "*groups"]) -> Float[Tensor, "*groups"]:
    """Return unrounded codes of scales; -inf for scales <= 0."""
    return 1 + SCALE_STEPS * (scale.clamp(min=0).log2() - LEAST_SCALE_LOG2)


def _scales(codes: UInt8[Tensor, "*groups"]) -> Float16[Tensor, "*groups"]:
    scales = torch.exp2((codes.double() - 1) / SCALE_STEPS + LEAST_SCALE_LOG2)
    return torch.where(codes > 0, scales, 0.0).half()
