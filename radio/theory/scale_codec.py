"""How a group's line, its location and scale, is stored: in 16 bits each, or in 8.

A store takes (location, scale) and returns the nearest line that it can represent, float32; of such
a line it changes nothing. What a fit chooses has been through a store, so that weights are coded by
the line they are decoded by.

In 8 bits the scale is a power of 2^(1/8), the step of the grid on which the author's code searches
scales, or 0. The location is in units of its group's scale, in steps that grow with it: a median is
near zero, where it is told to 1/4000 of the scale, and a few columns lie six scales away.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float, Float16, Int8, UInt8
from torch import Tensor

Lines = tuple[Float[Tensor, "*groups"], Float[Tensor, "*groups"]]
Store = Callable[[Float[Tensor, "*groups"], Float[Tensor, "*groups"]], Lines]

SCALE_STEPS = 8  # in an octave
LEAST_SCALE_LOG2 = -20.0
LOCATION_STEPS = 12  # in which 1/256 of a scale and the distance from the location zero double
LOCATION_UNIT = 1 / 256
LOCATION_CODES = 127
REACH = LOCATION_UNIT * (2 ** (LOCATION_CODES / LOCATION_STEPS) - 1)


def in_float16(location: Float[Tensor, "*groups"], scale: Float[Tensor, "*groups"]) -> Lines:
    """Both rounded to float16."""
    return location.half().float(), scale.half().float()


def in_bytes(location: Float[Tensor, "*groups"], scale: Float[Tensor, "*groups"]) -> Lines:
    """Both rounded to what 8 bits each can say; a scale below zero becomes 0."""
    found = from_bytes(*to_bytes(location, scale))
    return found[0].float(), found[1].float()


STORES: dict[int, Store] = {16: in_float16, 8: in_bytes}


def to_bytes(
    location: Float[Tensor, "*groups"], scale: Float[Tensor, "*groups"]
) -> tuple[Int8[Tensor, "*groups"], UInt8[Tensor, "*groups"]]:
    """Codes of the nearest location and scale.

    Where the location lies further off than the scale reaches, the scale is the least that does.
    """
    location = location.double()
    wanted = _octaves(scale.double()).round()
    # what was rounded down to the last code is in reach
    needed = (_octaves(location.abs() / REACH) - 0.25).ceil()
    codes = torch.maximum(wanted, needed).clamp(0, 255).to(torch.uint8)
    unit = LOCATION_UNIT * _scales(codes).double()
    distance = torch.where(unit > 0, location.abs() / unit, 0.0)
    steps = (LOCATION_STEPS * torch.log2(1 + distance)).round().clamp(max=LOCATION_CODES)
    return (steps * location.sign()).to(torch.int8), codes


def from_bytes(
    location: Int8[Tensor, "*groups"], scale: UInt8[Tensor, "*groups"]
) -> tuple[Float16[Tensor, "*groups"], Float16[Tensor, "*groups"]]:
    """The line that the codes of `to_bytes` stand for."""
    scales = _scales(scale)
    distance = torch.exp2(location.double().abs() / LOCATION_STEPS) - 1
    return (location.sign() * distance * LOCATION_UNIT * scales.double()).half(), scales


def _octaves(scale: Float[Tensor, "*groups"]) -> Float[Tensor, "*groups"]:
    """Codes of scales, not yet rounded; -inf for those that are not above zero."""
    return 1 + SCALE_STEPS * (scale.clamp(min=0).log2() - LEAST_SCALE_LOG2)


def _scales(codes: UInt8[Tensor, "*groups"]) -> Float16[Tensor, "*groups"]:
    scales = torch.exp2((codes.double() - 1) / SCALE_STEPS + LEAST_SCALE_LOG2)
    return torch.where(codes > 0, scales, 0.0).half()
