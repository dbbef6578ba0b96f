"""Radio: scalar quantization at the allocated depths, with bias correction.

Where paper and author's code differ, the code is followed: groups are centred on their median
with the root mean square about it as scale, a weight at depth 0 becomes its group's location, and
scale and location are tuned on grids for the squared error of the weights.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from radio.methods.base import LinearLayer
from radio.packing.codecs import Companded, QuantizedLinear
from radio.runtime.errors import RadioError
from radio.theory.allocation import MAX_BITS
from radio.theory.codebook import Codebook, companded, decode, encode, join, nearest, uniform
from radio.theory.fit import FITS
from radio.theory.grouping import locations_and_scales

# groups fitted at once: bounds the candidates in memory
SEARCH_CHUNK = 1024
LAWS: dict[str, Callable[[int], Codebook]] = {"companded": companded, "uniform": uniform}
LEARNED = "learned"
# deepest at which errors are measured; cells are narrow from there on, so that the high-resolution
# law holds, and the deepest codebooks would cost most of the time
MEASURED_BITS = 5


@dataclass(frozen=True)
class Radio:
    """Quantize at given depths.

    Attributes:
        levels: where codes are decoded: "companded" (paper), "uniform", or "learned": the layer's
            `codebooks`.
        fit: how each group's location and scale are chosen: "range", "moments", "search" (author's
            code) or "least_squares", see `radio.theory.fit`.
        correct_bias: add (W - W_q) E[x] to the bias, so that the mean output is unchanged; a
            layer without a bias gains one.
    """

    levels: str = "companded"
    fit: str = "search"
    correct_bias: bool = True

    def __post_init__(self) -> None:
        for what, given, known in (
            ("levels", self.levels, [*LAWS, LEARNED]),
            ("fit", self.fit, list(FITS)),
        ):
            if given not in known:
                raise RadioError(f"{what}={given} is unknown: set one of {', '.join(known)}")

    def check_rate(self, rate_bits: float) -> None:
        """Raise a `RadioError` unless 0 < rate_bits <= 8."""
        if not 0 < rate_bits <= MAX_BITS:
            raise RadioError(
                f"rate_bits={rate_bits} is not a rate: "
                f"set a number above 0 and at most {MAX_BITS} bits a weight"
            )

    def quantize(self, layer: LinearLayer, rate_bits: float) -> QuantizedLinear:
        """Code every group at its depth; `rate_bits` was spent when the depths were allocated.

        Raises:
            RadioError: `levels` is "learned" and the layer has no codebooks.
        """
        assert layer.statistics is not None and layer.depths is not None
        coded = self._encode(
            layer.weight, layer.statistics.cluster, layer.depths, self._books(layer)
        )
        quantized = QuantizedLinear(coded, None if layer.bias is None else layer.bias.half())
        if not self.correct_bias:
            return quantized
        # the paper's Algorithm 1 prints the opposite sign, which would double the mean error
        shift = (layer.weight - coded.decode()) @ layer.statistics.input_mean
        bias = shift if layer.bias is None else layer.bias + shift
        return quantized.with_bias(bias, added=layer.bias is None)

    def distortion(self, layer: LinearLayer) -> Float[Tensor, "clusters cols 9"]:
        """Mean squared error a weight of every group, were it quantized at depths 0..8.

        Measured to depth 5, and continued by a factor 4 a bit, as the high-resolution law has it;
        uniform levels, whose range grows with the depth, in truth gain a factor of 3.3 to 3.7.

        Raises:
            RadioError: `levels` is "learned" and the layer has no codebooks.
        """
        assert layer.statistics is not None
        cluster, books = layer.statistics.cluster, self._books(layer)
        location, scale = _moments(layer.weight, cluster)
        error = torch.empty(*location.shape, MAX_BITS + 1)
        for c in range(len(location)):
            groups = layer.weight[cluster == c].T.contiguous()
            for cols in torch.arange(len(groups)).split(SEARCH_CHUNK):
                for bits, book in enumerate(books[: MEASURED_BITS + 1]):
                    line = FITS[self.fit](groups[cols], location[c, cols], scale[c, cols], book)
                    decoded = decode(encode(groups[cols], *line, book), *line, book)
                    error[c, cols, bits] = (decoded - groups[cols]).square().mean(dim=1)
        further = torch.arange(1, MAX_BITS - MEASURED_BITS + 1)
        error[..., MEASURED_BITS + 1 :] = error[..., MEASURED_BITS, None] * torch.exp2(
            -2.0 * further
        )
        return error

    def _books(self, layer: LinearLayer) -> list[Codebook]:
        """The codebooks of depths 0..8."""
        if self.levels != LEARNED:
            return [LAWS[self.levels](bits) for bits in range(MAX_BITS + 1)]
        if layer.codebooks is None:
            raise RadioError(
                f"levels={LEARNED} needs levels and there are none: "
                "make artifacts.codebook by an earlier step, or set levels=companded"
            )
        # as they are stored, so that weights are coded by what they are decoded by
        return [nearest(levels.half().float()) for levels in layer.codebooks]

    def _encode(
        self, weight: Tensor, cluster: Tensor, depths: Tensor, books: list[Codebook]
    ) -> Companded:
        location, scale = _moments(weight, cluster)
        codes = torch.zeros(weight.shape, dtype=torch.uint8)
        for c in range(len(depths)):
            rows = (cluster == c).nonzero()[:, 0]
            groups = weight[rows].T.contiguous()
            for bits in depths[c].unique().tolist():
                for cols in (depths[c] == bits).nonzero()[:, 0].split(SEARCH_CHUNK):
                    at = groups[cols], location[c, cols], scale[c, cols], books[bits]
                    line = FITS[self.fit](*at)
                    location[c, cols], scale[c, cols] = line
                    codes[rows[:, None], cols] = encode(groups[cols], *line, books[bits]).T.to(
                        codes
                    )
        table = None if self.levels == "companded" else join([book.levels for book in books])
        return Companded(codes, cluster, depths, location.half(), scale.half(), table)


def _moments(weight: Tensor, cluster: Tensor) -> tuple[Tensor, Tensor]:
    """Median and root mean square about it of every group [clusters, cols], as they are stored."""
    location, scale = locations_and_scales(weight, cluster, int(cluster.max()) + 1)
    return location.half().float(), scale.half().float()
