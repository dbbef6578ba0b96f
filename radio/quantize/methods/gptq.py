"""GPTQ: affine grids with error compensation (arXiv 2210.17323, repository IST-DASLab/gptq).

Two differences from the original. A group's grid is fitted to weights with all earlier corrections;
the original omits those of the current block of columns if the group begins inside it. The column
of an input that is always 0 is rounded; the original sets it to 0.
"""

from dataclasses import dataclass
from typing import Annotated

import torch
from jaxtyping import Float
from torch import Tensor

from radio.pack.codecs import Affine, QuantizedLinear
from radio.pack.floats import scaled, stored
from radio.quantize.methods.affine import AffineMethod
from radio.quantize.methods.base import LinearLayer
from radio.runtime.errors import RadioError
from radio.runtime.kinds import at_least
from radio.theory.affine_grid import Grid, decode, encode
from radio.theory.error_compensation import BeforeRun, inverse_factor, with_error_compensation


@dataclass(frozen=True)
class Gptq(AffineMethod):
    """Round columns one by one; each column is first corrected for the errors of earlier columns.

    Attributes:
        damping_frac: term added to the diagonal of the Hessian, in units of its mean.
        act_order: process columns by descending mean square of their inputs. Groups are still runs
            of consecutive inputs, since other groups would have to be stored; their grids must
            therefore be fitted before the first column.
        static_groups: fit all grids to the original weights, instead of fitting each to corrected
            weights when its first column is reached.
    """

    damping_frac: Annotated[float, at_least(0)] = 0.01
    act_order: bool = False
    static_groups: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.act_order and self.group_cols is not None and not self.static_groups:
            raise RadioError(
                f"method.quantizer.act_order=true with "
                f"method.quantizer.group_cols={self.group_cols} would need the order of "
                "the columns stored: set "
                "method.quantizer.static_groups=true, or method.quantizer.group_cols=null"
            )

    def quantize(self, layer: LinearLayer, rate_bits: float) -> QuantizedLinear:
        """Code every weight in rate_bits bits.

        Raises:
            RadioError: the layer has no input moments.
        """
        coded, _ = self.code(layer.weight, second_moment(layer), int(rate_bits))
        return QuantizedLinear(coded, None if layer.bias is None else stored(layer.bias))

    def code(
        self,
        weight: Float[Tensor, "rows cols"],
        hessian: Float[Tensor, "cols cols"],
        bits: int,
        kept: int = 0,
    ) -> tuple[Affine, Float[Tensor, "rows kept"]]:
        """Return codes of all but the last `kept` columns, and the corrected kept columns."""
        rows, cols = len(weight), weight.shape[1] - kept
        weight, exponent = self.normalized(weight, bits)
        group_cols = self.group_cols or max(cols, 1)
        groups = -(-cols // group_cols)
        codes = torch.empty(cols, rows, dtype=torch.uint8)
        scale = torch.empty(groups, rows, dtype=torch.float16)
        zero = torch.empty(groups, rows, dtype=torch.uint8)

        def fit(start: int, run: Tensor) -> None:
            if start < cols:
                group = start // group_cols
                scale[group], zero[group] = self.grid(run[:, : cols - start], bits)

        def quantize_column(j: int, column: Tensor) -> Tensor:
            if j >= cols:
                return column
            grid = Grid(scale[j // group_cols], zero[j // group_cols])
            coded = encode(column[:, None], grid, bits)
            codes[j] = coded[:, 0]
            return decode(coded, grid)[:, 0]

        if self.static_groups:
            for start in range(0, cols, group_cols):
                fit(start, weight[:, start : start + group_cols])
        order = None
        if self.act_order:
            order = torch.arange(weight.shape[1])
            order[:cols] = hessian.diagonal()[:cols].argsort(descending=True, stable=True)
        result = with_error_compensation(
            weight,
            inverse_factor(hessian, self.damping_frac, order),
            quantize_column,
            order,
            before_run=None if self.static_groups else BeforeRun(group_cols, fit),
        )
        coded = Affine(
            codes=codes.T.contiguous(),
            scale=scale.T.contiguous(),
            zero=None if self.symmetric else zero.T.contiguous(),
            bits=bits,
            group_cols=group_cols,
            exponent=exponent,
        )
        return coded, scaled(result[:, cols:], exponent)


def second_moment(layer: LinearLayer) -> Float[Tensor, "cols cols"]:
    """Return the Hessian of a layer's output error, up to a factor.

    Raises:
        RadioError: the layer has no input moments.
    """
    if layer.inputs is None:
        raise RadioError(
            f"the moments of the inputs of {layer.name} are not known: "
            "add inputs to `needs` in the method's YAML"
        )
    return layer.inputs.second_moment
