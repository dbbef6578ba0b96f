"""The GPU kernel, in Triton.

So far it has been run in Triton's interpreter only, which checks arithmetic and masks, but not
races, alignment or speed. A program multiplies some tiles of one cluster with all columns, in the
layout's blocks of 32. No other program adds to its rows, so a result depends only on the block
sizes. The shifts that unpack codes are computed for each column, so one body serves all depths.
"""

from typing import Any

import triton
import triton.language as tl
from jaxtyping import Float
from torch import Tensor

from radio.kernels.checks import checked
from radio.kernels.layout import PackedMatrix
from radio.runtime.device import gpus

# maximum of right-hand sides per launch
MAX_VECTORS = 8
# tiles and warps of a program, chosen by measured time; one choice for the interpreter
CHOICES = [(1, 2), (1, 4), (2, 4), (4, 4), (4, 8)] if gpus() else [(2, 4)]
CONFIGS = [triton.Config({"TILES": tiles}, num_warps=warps) for tiles, warps in CHOICES]


def product(
    inputs: Float[Tensor, "vectors cols"], matrix: PackedMatrix, bias: Float[Tensor, " rows"] | None
) -> Float[Tensor, "vectors rows"]:
    """Return W x + b for every row of `inputs`, in their dtype, summed in float32.

    Raises:
        RadioError: the matrix is damaged.
    """
    most_tiles = checked(matrix).most_tiles
    outputs = inputs.new_empty(len(inputs), matrix.rows)
    for some, their in zip(inputs.split(MAX_VECTORS), outputs.split(MAX_VECTORS), strict=True):
        if len(some):
            _launch(some.contiguous(), matrix, most_tiles, bias, their)
    return outputs


def _launch(
    inputs: Tensor, matrix: PackedMatrix, most_tiles: int, bias: Tensor | None, outputs: Tensor
) -> None:
    rows, cols = matrix.shape
    vectors = len(inputs)

    def grid(meta: dict[str, Any]) -> tuple[int, int]:
        return len(matrix.counts), triton.cdiv(most_tiles, meta["TILES"])

    _product[grid](
        inputs,
        outputs,
        inputs if bias is None else bias.contiguous(),
        *matrix.tensors(),
        rows,
        cols,
        vectors,
        HAS_BIAS=bias is not None,
        VECTORS=triton.next_power_of_2(vectors),
    )


@triton.autotune(configs=CONFIGS, key=["rows", "cols", "VECTORS"])
@triton.jit
def _product(  # type: ignore[no-untyped-def]
    inputs,  # [vectors, cols]
    outputs,  # [vectors, rows]
    bias,  # [rows]
    words,
    first_word,
    first_tile,
    counts,
    columns,
    scale,
    location,
    row,
    levels,
    rows,
    cols,
    vectors,
    HAS_BIAS: tl.constexpr,
    VECTORS: tl.constexpr,
    TILES: tl.constexpr,
):
    cluster = tl.program_id(0)
    first = tl.load(first_tile + cluster)
    tiles = tl.load(first_tile + cluster + 1) - first
    lane = tl.arange(0, TILES * 16)
    tile = tl.program_id(1) * TILES + lane // 16
    live = tile < tiles
    n = tl.arange(0, VECTORS)
    there = (n < vectors)[:, None]
    x_of = inputs + n.to(tl.int64)[:, None] * cols
    k = tl.arange(0, 32)
    side = cluster.to(tl.int64) * cols

    # locations count at all depths, including 0
    constant = tl.zeros([VECTORS, 32], tl.float32)
    for start in range(0, cols, 32):
        inside = start + k < cols
        column = tl.load(columns + side + start + k, mask=inside, other=0)
        at = tl.load(location + side + start + k, mask=inside, other=0.0).to(tl.float32)
        x = tl.load(x_of + column[None, :], mask=there & inside[None, :], other=0.0)
        constant += x.to(tl.float32) * at[None, :]

    total = tl.zeros([VECTORS, TILES * 16, 32], tl.float32)
    block = tl.load(first_word + cluster)
    position = side + tl.load(counts + cluster * 9)
    for bits in range(1, 9):
        count = tl.load(counts + cluster * 9 + bits)
        for start in range(0, count, 32):
            width = tl.minimum(count - start, 32)
            deep = (width * bits + 31) // 32
            inside = k < width
            column = tl.load(columns + position + k, mask=inside, other=0)
            step = tl.load(scale + position + k, mask=inside, other=0.0).to(tl.float32)
            x = tl.load(x_of + column[None, :], mask=there & inside[None, :], other=0.0)
            a = x.to(tl.float32) * step[None, :]

            word, shift = bits * k // 32, bits * k % 32
            mask = live[:, None] & inside[None, :]
            at = words + block + (tile * deep * 16 + lane % 16)[:, None] + 16 * word[None, :]
            low = tl.load(at, mask=mask, other=0).to(tl.uint32, bitcast=True)
            across = mask & (shift + bits > 32)[None, :]
            high = tl.load(at + 16, mask=across, other=0).to(tl.uint32, bitcast=True)
            # in two steps, since a shift by 32 is undefined
            rest = (high << 1) << (31 - shift)[None, :].to(tl.uint32)
            code = ((low >> shift[None, :].to(tl.uint32)) | rest).to(tl.int32) & ((1 << bits) - 1)
            level = tl.load(levels + (1 << bits) - 2 + code, mask=mask, other=0.0)

            total += level[None, :, :] * a[:, None, :]
            block += tiles * deep * 16
            position += width

    y = tl.sum(total, axis=2) + tl.sum(constant, axis=1)[:, None]
    r = tl.load(row + first * 16 + tile * 16 + lane % 16, mask=live, other=-1)
    live = live & (r >= 0)
    if HAS_BIAS:
        y += tl.load(bias + r, mask=live, other=0.0).to(tl.float32)[None, :]
    to = outputs + n.to(tl.int64)[:, None] * rows + r[None, :]
    tl.store(to, y.to(outputs.dtype.element_ty), mask=there & live[None, :])
