"""Round to nearest (RTN): asymmetric uniform levels between a group's extremes.

The rule is that of the GPTQ and OWQ repositories' `Quantizer` (asymmetric, no search): the range
always contains 0, the zero point is an integer, and a group runs along the inputs of one row.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from radio.methods.base import LinearLayer
from radio.packing.codecs import Affine, QuantizedLinear
from radio.runtime.errors import RadioError
from radio.theory.allocation import MAX_BITS


@dataclass(frozen=True)
class Rtn:
    """Round to nearest with one scale and zero point a row, or a run of inputs of a row.

    Attributes:
        group_cols: inputs that share a scale; None for a whole row. The last run of a row may be
            shorter.
    """

    group_cols: int | None = None

    def __post_init__(self) -> None:
        if self.group_cols is not None and self.group_cols < 1:
            raise RadioError(
                f"group_cols={self.group_cols} is not a number of inputs: "
                "set a positive integer, or null for whole rows"
            )

    def check_rate(self, rate_bits: float) -> None:
        """Raise a `RadioError` unless `rate_bits` is one of 1..8."""
        if rate_bits not in range(1, MAX_BITS + 1):
            raise RadioError(
                f"rate_bits={rate_bits} does not suit rtn, whose depth is the same everywhere: "
                f"set an integer from 1 to {MAX_BITS}"
            )

    def quantize(self, layer: LinearLayer, rate_bits: float) -> QuantizedLinear:
        """Round every weight to the nearest of 2^rate_bits levels."""
        bits, group_cols = int(rate_bits), self.group_cols or layer.weight.shape[1]
        runs = layer.weight.split(group_cols, dim=1)
        scale, zero = zip(*(min_max_grid(run, bits) for run in runs), strict=True)
        codes = torch.cat(
            [_nearest(run, s, z, bits) for run, s, z in zip(runs, scale, zero, strict=True)], dim=1
        )
        weight = Affine(
            codes=codes,
            scale=torch.stack(scale, dim=1),
            zero=torch.stack(zero, dim=1),
            bits=bits,
            group_cols=group_cols,
        )
        return QuantizedLinear(weight, None if layer.bias is None else layer.bias.half())


def min_max_grid(run: Float[Tensor, "rows cols"], bits: int) -> tuple[Tensor, Tensor]:
    """Scale (float16) and zero point (uint8) of each row, from its smallest and largest weight."""
    low, high = run.amin(dim=1).clamp(max=0), run.amax(dim=1).clamp(min=0)
    flat = (low == 0) & (high == 0)
    low, high = torch.where(flat, -1.0, low), torch.where(flat, 1.0, high)
    scale = ((high - low) / (2**bits - 1)).half()
    # a range too narrow for float16 would have scale 0: its weights are 0 to that precision
    scale = scale.clamp(min=torch.finfo(torch.float16).smallest_normal)
    zero = torch.round(-low / scale.float()).clamp(0, 2**bits - 1).to(torch.uint8)
    return scale, zero


def _nearest(run: Tensor, scale: Tensor, zero: Tensor, bits: int) -> Tensor:
    """Codes [rows, cols] of the nearest levels."""
    codes = torch.round(run / scale.float()[:, None]) + zero.float()[:, None]
    return codes.clamp(0, 2**bits - 1).to(torch.uint8)
