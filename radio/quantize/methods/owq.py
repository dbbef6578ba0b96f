"""OWQ: GPTQ with the weakest input columns kept in float16 (arXiv 2306.02272, xvyaward/owq).

A column is weak if H_jj ||dW_j||^2 is large, with dW from rounding whole rows to nearest: its input
is large and so is its rounding error. Kept columns are processed last, so that they absorb the
errors of all others, and are excluded from the grids. The cost of a column depends on the number of
rows: the authors keep about the same number of *weights* in every layer of a block.

The authors' target of 3.01 bits only counts 16 bits instead of 3 for each kept weight. It
corresponds to `extra_bits`; the true rate also counts the columns' indices and the grids.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from math import ceil
from typing import Annotated

import torch

from radio.pack.codecs import KeptColumns, QuantizedLinear, kept_bytes, other_columns
from radio.pack.floats import stored
from radio.quantize.methods.affine import check_reach
from radio.quantize.methods.base import LinearLayer
from radio.quantize.methods.gptq import Gptq, second_moment
from radio.runtime.errors import RadioError
from radio.runtime.kinds import at_least
from radio.theory.affine_grid import decode, encode
from radio.theory.allocation import MAX_BITS


@dataclass(frozen=True)
class Owq(Gptq):
    """Keep the weakest columns of every layer in float16, and code the others with GPTQ.

    Attributes:
        extra_bits: cost of the kept columns, in bits per weight beyond the depth. Each layer keeps
            the fraction extra_bits / (16 - depth) of its columns, rounded up.
        kept_weights: number of weights to keep in every layer, rounded to whole columns; replaces
            `extra_bits`.
    """

    clip: bool = True
    extra_bits: Annotated[float, at_least(0)] = 0.01
    kept_weights: Annotated[int, at_least(0)] | None = None

    def quantize(self, layer: LinearLayer, rate_bits: float) -> QuantizedLinear:
        """Code the columns that are not kept in rate_bits bits per weight.

        Raises:
            RadioError: the layer has no input moments.
        """
        weight, hessian, bits = layer.weight, second_moment(layer), int(rate_bits)
        normal, _ = self.normalized(weight, bits)
        grid = self.grid(normal, bits)
        error = decode(encode(normal, grid, bits), grid) - normal
        sensitivity = hessian.diagonal() * error.square().sum(dim=0)
        weakest = sensitivity.argsort(descending=True, stable=True)
        rows, cols = weight.shape
        columns = weakest[: self.kept_cols(rows, cols, bits)]
        order = torch.cat([other_columns(columns, cols), columns])
        coded, kept = self.code(weight[:, order], hessian[order][:, order], bits, len(columns))
        bias = None if layer.bias is None else stored(layer.bias)
        return QuantizedLinear(KeptColumns(coded, stored(kept), columns), bias)

    def kept_cols(self, rows: int, cols: int, bits: int) -> int:
        """Return the number of columns of a layer that are kept."""
        if self.kept_weights is None:
            return min(cols, ceil(cols * self.extra_bits / (16 - bits)))
        return _whole_columns(self.kept_weights, rows, cols)

    def solve_for_bits(self, bpw: float, shapes: Sequence[tuple[int, int]]) -> tuple["Owq", float]:
        """Return this method at the largest depth, with as many kept columns as then fit `bpw`.

        Solves for `kept_weights`, which distributes columns over layers as the authors do.

        Raises:
            RadioError: depths from 1 to 8 and kept columns cannot reach the target, or `extra_bits`
                is set, which has no effect here.
        """
        if self.extra_bits != Owq.extra_bits:
            raise RadioError(
                f"method.quantizer.extra_bits={self.extra_bits} has no part in "
                f"target.bpw={bpw:g}, which is met by kept_weights: leave "
                "it out, or set rate_bits"
            )
        layers, weights = Counter(shapes), sum(rows * cols for rows, cols in shapes)

        @cache
        def size(rows: int, cols: int, kept: int, bits: int) -> int:
            group_cols = self.group_cols or max(cols - kept, 1)
            return kept_bytes(rows, cols, kept, bits, group_cols, self.symmetric)

        def rate(bits: int, kept_weights: int) -> float:
            kept = {shape: _whole_columns(kept_weights, *shape) for shape in layers}
            sizes = (count * size(*shape, kept[shape], bits) for shape, count in layers.items())
            return 8 * sum(sizes) / weights

        # values of kept_weights at which a layer gets its nth column
        steps = {0} | {n * rows - rows // 2 for rows, cols in layers for n in range(1, cols + 1)}
        check_reach(bpw, rate(1, 0), rate(MAX_BITS, max(steps)))
        bits = max(b for b in range(1, MAX_BITS + 1) if rate(b, 0) <= bpw)
        # try every step: one more column may remove a group and so take fewer bytes
        spent = ((rate(bits, kept), kept) for kept in steps)
        best = max(each for each in spent if each[0] <= bpw)
        return replace(self, kept_weights=best[1]), float(bits)


def _whole_columns(kept_weights: int, rows: int, cols: int) -> int:
    """Return the number of columns nearest to `kept_weights` weights, with halves rounded up."""
    return min(cols, (2 * kept_weights + rows) // (2 * rows))
