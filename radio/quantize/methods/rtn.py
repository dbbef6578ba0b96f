"""Round to nearest (RTN): uniform levels between a group's extremes, or in a clipped range.

The default follows `Quantizer` in the GPTQ and OWQ repositories (asymmetric, no search): the range
always contains 0, the zero point is an integer, and a group is a run of inputs of one row. The
paper calls `clip` MMSE.
"""

from dataclasses import dataclass

import torch

from radio.pack.codecs import Affine, QuantizedLinear
from radio.pack.floats import stored
from radio.quantize.methods.affine import AffineMethod
from radio.quantize.methods.base import LinearLayer
from radio.theory.affine_grid import encode


@dataclass(frozen=True)
class Rtn(AffineMethod):
    """Round every weight to the nearest level of its row, or of its run of inputs."""

    def quantize(self, layer: LinearLayer, rate_bits: float) -> QuantizedLinear:
        """Round every weight to the nearest of 2^rate_bits levels."""
        bits, group_cols = int(rate_bits), self.group_cols or layer.weight.shape[1]
        scaled_weight, exponent = self.normalized(layer.weight, bits)
        runs = scaled_weight.split(group_cols, dim=1)
        grids = [self.grid(run, bits) for run in runs]
        weight = Affine(
            codes=torch.cat([encode(*each, bits) for each in zip(runs, grids, strict=True)], dim=1),
            scale=torch.stack([grid.scale for grid in grids], dim=1),
            zero=None if self.symmetric else torch.stack([grid.zero for grid in grids], dim=1),
            bits=bits,
            group_cols=group_cols,
            exponent=exponent,
        )
        return QuantizedLinear(weight, None if layer.bias is None else stored(layer.bias))
