"""Radio: companded quantization at the allocated depths, with bias correction.

Where paper and author's code differ, the code is followed: groups are centred on their median
with the root mean square about it as scale, a weight at depth 0 becomes its group's location, and
scale and location are tuned on grids for the squared error of the weights.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from radio.methods.base import LinearLayer
from radio.packing.codecs import Companded, QuantizedLinear
from radio.runtime.errors import RadioError
from radio.theory.allocation import MAX_BITS
from radio.theory.companding import encode, search
from radio.theory.grouping import locations_and_scales

# groups searched at once: bounds the candidates in memory
SEARCH_CHUNK = 1024


@dataclass(frozen=True)
class Radio:
    """Quantize at given depths.

    Attributes:
        search: tune each group's scale and location on grids.
        correct_bias: add (W - W_q) E[x] to the bias, so that the mean output is unchanged; a
            layer without a bias gains one.
    """

    search: bool = True
    correct_bias: bool = True

    def check_rate(self, rate_bits: float) -> None:
        """Raise a `RadioError` unless 0 < rate_bits <= 8."""
        if not 0 < rate_bits <= MAX_BITS:
            raise RadioError(
                f"rate_bits={rate_bits} is not a rate: "
                f"set a number above 0 and at most {MAX_BITS} bits a weight"
            )

    def quantize(self, layer: LinearLayer, rate_bits: float) -> QuantizedLinear:
        """Code every group at its depth; `rate_bits` was spent when the depths were allocated."""
        assert layer.statistics is not None and layer.depths is not None
        cluster = layer.statistics.cluster
        coded = self._encode(layer.weight, cluster, layer.depths)
        quantized = QuantizedLinear(coded, None if layer.bias is None else layer.bias.half())
        if not self.correct_bias:
            return quantized
        # the paper's Algorithm 1 prints the opposite sign, which would double the mean error
        shift = (layer.weight - coded.decode()) @ layer.statistics.input_mean
        bias = shift if layer.bias is None else layer.bias + shift
        return quantized.with_bias(bias, added=layer.bias is None)

    def _encode(self, weight: Tensor, cluster: Tensor, depths: Tensor) -> Companded:
        clusters = len(depths)
        location, scale = locations_and_scales(weight, cluster, clusters)
        location, scale = location.half().float(), scale.half().float()
        codes = torch.zeros(weight.shape, dtype=torch.uint8)
        for c in range(clusters):
            rows = (cluster == c).nonzero()[:, 0]
            groups = weight[rows].T.contiguous()
            for bits in depths[c].unique().tolist():
                for cols in (depths[c] == bits).nonzero()[:, 0].split(SEARCH_CHUNK):
                    at = groups[cols], location[c, cols], scale[c, cols], bits
                    if self.search:
                        location[c, cols], scale[c, cols] = search(*at)
                    coded = encode(groups[cols], location[c, cols], scale[c, cols], bits)
                    codes[rows[:, None], cols] = coded.T.to(torch.uint8)
        return Companded(codes, cluster, depths, location.half(), scale.half())
