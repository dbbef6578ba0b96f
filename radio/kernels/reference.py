"""Reference implementation of the kernels: simple and slow, in float64."""

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from radio.kernels.layout import level_table
from radio.pack.codecs import Companded


def weights(coded: Companded) -> Float64[Tensor, "rows cols"]:
    """Return w_rj = location_cj + scale_cj level_B[code_rj]; c: cluster of row r, B = depth_cj."""
    levels = torch.cat([torch.zeros(1), level_table(coded.codebook)]).double()
    first = 2 ** coded.depths.long() - 1  # index of a depth's first level; depth 0 has one, 0
    level = levels[first[coded.cluster] + coded.codes.long()]
    return coded.location.double()[coded.cluster] + coded.scale.double()[coded.cluster] * level


def product(
    coded: Companded,
    inputs: Float[Tensor, "vectors cols"],
    bias: Float[Tensor, " rows"] | None = None,
) -> Float64[Tensor, "vectors rows"]:
    """Return W x + b for every row of `inputs`."""
    outputs = inputs.double() @ weights(coded).T
    return outputs if bias is None else outputs + bias.double()
