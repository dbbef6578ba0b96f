"""GPTQ: affine grids with error compensation (arXiv 2210.17323, repository IST-DASLab/gptq).

Where a group begins inside a block of columns whose corrections are still to be applied to later
ones, the original fits the group's grid to weights that lack those of the block; here they have
them, so that groups of every size are treated alike. An input that is always 0 has its column
rounded, where the original sets it to 0.
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
    """Round column by column, each after the errors of those before it were fed back into it.

    Attributes:
        damping_frac: added to the diagonal of the Hessian, in units of its mean.
        act_order: columns take turns by descending mean square of their inputs, and not as they
            stand. A group is always a run of inputs as they stand, since any other would have to
            be stored; so its grid must be there before the first turn.
        static_groups: fit all grids to the original weights, and not each to the corrected weights
            when the first of its columns has its turn.
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
            RadioError: the moments of the inputs are not known.
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
        """Codes of all but the last `kept` columns, and those, which took up the errors."""
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
    """The Hessian of a layer's output error, but for a factor.

    Raises:
        RadioError: it was not given.
    """
    if layer.inputs is None:
        raise RadioError(
            f"the moments of the inputs of {layer.name} are not known: "
            "add inputs to `needs` in the method's YAML"
        )
    return layer.inputs.second_moment
