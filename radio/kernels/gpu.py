"""The kernels for GPUs, in Triton. So far run in Triton's interpreter only, which checks arithmetic
and masks, not races, alignment or speed.

A program takes some tiles of one cluster and goes through its runs of columns, 32 at a time, as the
layout has them. Every output is summed by one program in one order, so that a result is a matter of
the block sizes alone. Codes are unpacked by shifts that come with the column, so that one body serves
all depths.
"""

from typing import Any

import torch
import triton
import triton.language as tl
from jaxtyping import Float, Int32
from torch import Tensor

from radio.kernels.layout import BLOCK, LANES, PackedMatrix

INTERPRETED = not torch.cuda.is_available()
# tiles a program and warps; the interpreter cannot time, so it has one choice
CONFIGS = [
    triton.Config({"TILES": tiles}, num_warps=warps)
    for tiles, warps in ([(2, 4)] if INTERPRETED else [(1, 2), (1, 4), (2, 4), (4, 4), (8, 8)])
]


@triton.jit
def _levels(
    words_ptr, levels_ptr, block, tile, tiles, bits, width, k, lanes, live, BLOCK: tl.constexpr
):  # -> [lanes, BLOCK]
    """Levels of columns k of a block that begins at word `block`, for lanes of the tiles `tile`."""
    depth_words = (width * bits + 31) // 32
    place = bits * k
    word, shift = place // 32, place % 32
    at = block + (tile * depth_words * 16 + lanes)[:, None] + 16 * word[None, :]
    low = tl.load(words_ptr + at, mask=live, other=0).to(tl.uint32, bitcast=True)
    across = live & (shift + bits > 32)[None, :]
    high = tl.load(words_ptr + at + 16, mask=across, other=0).to(tl.uint32, bitcast=True)
    # two shifts, since one by 32 is undefined where a code begins its word
    rest = (high << 1) << (31 - shift).to(tl.uint32)[None, :]
    code = ((low >> shift.to(tl.uint32)[None, :]) | rest) & ((1 << bits) - 1).to(tl.uint32)
    return tl.load(levels_ptr + (1 << bits) - 2 + code.to(tl.int32), mask=live, other=0.0)
