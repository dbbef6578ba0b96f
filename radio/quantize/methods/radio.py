"""Radio: scalar quantization at the allocated depths, with bias correction.

The defaults follow the author's code where it differs from the paper: groups are centred on their
median, with the root mean square about it as scale, a weight at depth 0 decodes to its group's
location, and scale and location are searched on grids for least squared error of the weights.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Annotated

import torch
from jaxtyping import Float
from torch import Tensor

from radio.calibrate.statistics import LayerStatistics
from radio.pack.codecs import Companded, QuantizedLinear
from radio.pack.floats import normalized, stored
from radio.quantize.methods.base import LinearLayer
from radio.runtime.check import check_fields
from radio.runtime.errors import RadioError
from radio.runtime.kinds import at_least, one_of
from radio.runtime.threads import in_threads
from radio.theory.allocation import MAX_BITS
from radio.theory.codebook import (
    Codebook,
    Codebooks,
    companded,
    decode,
    encode,
    join,
    nearest,
    uniform,
)
from radio.theory.error_compensation import inverse_factor, with_error_compensation
from radio.theory.grouping import locations_and_scales, means_and_deviations
from radio.theory.scale_codec import STORES, Store
from radio.theory.scale_fit import FITS, refitted, with_gain

# groups x levels fitted at once: small enough for the CPU's caches, large enough to load a GPU
LEVELS_AT_ONCE, LEVELS_AT_ONCE_ON_GPU = 2**13, 2**18
LAWS: dict[str, Callable[[int], Codebook]] = {
    "companded": companded,
    "companded-nearest": lambda bits: nearest(companded(bits).levels),
    "uniform": uniform,
}
LEARNED = "learned"
CENTERS = {"median": locations_and_scales, "mean": means_and_deviations}
# levels that the decoder can compute; others are stored
KNOWN_TO_DECODER = ("companded", "companded-nearest")
# rounds of refitting a column's codes and line in error compensation; a third changes very little
FEEDBACK_ROUNDS = 2
# largest depth at which errors are measured: beyond it cells are narrow, so the high-resolution law
# holds, and measuring would take most of the time
MEASURED_BITS = 5
# range of a layer's largest weight in which float16 and 8-bit lines can represent group scales
UNSCALED = (2.0**-10, 2.0**11)


@dataclass(frozen=True)
class Radio:
    """Quantize at given depths.

    Attributes:
        levels: reconstruction levels: "companded" (paper), "companded-nearest" (the same levels,
            but each weight takes the nearest level, not that of its cell), "uniform", or "learned":
            the layer's `codebooks`.
        scale_fit: fit of each group's location and scale: "range", "moments", "search" (author's
            code) or "least_squares", see `radio.theory.scale_fit`.
        correct_bias: add (W - W_q) E[x] to the bias, so that the mean output does not change; a
            layer without a bias gets one.
        error_compensation: quantize columns one by one, each corrected for the errors of earlier
            columns, and refit its line. Needs the layer's `inputs`.
        center_on: centre of a group before its line is fitted: its "median", with the root mean
            square about it as scale (author's code), or its "mean", with the standard deviation;
            weights at depth 0 are then 0 (paper), unless error compensation moves them.
        scale_bits: stored bits of a group's location and of its scale, 16 (paper) or 8
            (`radio.theory.scale_codec`).
        gain_correction: correction of each group's gain <W_q, W> / <W, W> towards 1 after coding:
            0 (paper) to 1 (unbiased), see `radio.theory.scale_fit.with_gain`. Must be 0 with error
            compensation, which refits lines itself.
    """

    levels: Annotated[str, one_of("companded", "companded-nearest", "uniform", "learned")] = (
        "companded"
    )
    scale_fit: Annotated[str, one_of("range", "moments", "search", "least_squares")] = "search"
    correct_bias: bool = True
    error_compensation: bool = False
    center_on: Annotated[str, one_of("median", "mean")] = "median"
    scale_bits: Annotated[int, one_of(16, 8)] = 16
    gain_correction: Annotated[float, at_least(0, 1)] = 0.0

    def __post_init__(self) -> None:
        check_fields(self, "method.quantizer")
        if self.error_compensation and self.gain_correction:
            raise RadioError(
                f"method.quantizer.gain_correction={self.gain_correction} has no effect with "
                "method.quantizer.error_compensation=true: set method.quantizer.gain_correction=0"
            )

    def check_rate(self, rate_bits: float) -> None:
        """Raise a `RadioError` unless 0 < rate_bits <= 8."""
        if not 0 < rate_bits <= MAX_BITS:
            raise RadioError(
                f"rate_bits={rate_bits} is not a rate: "
                f"set a number above 0 and at most {MAX_BITS} bits per weight"
            )

    def quantize(self, layer: LinearLayer, rate_bits: float) -> QuantizedLinear:
        """Code every group at its depth; `rate_bits` is not used, since the depths realize it.

        Raises:
            RadioError: `levels` is "learned" and the layer has no codebooks.
        """
        assert layer.statistics is not None and layer.depths is not None
        books = self._books(layer)
        weight, exponent = normalized(layer.weight, *UNSCALED)
        lines = self._lines(weight, layer.statistics.cluster, layer.depths, books)
        encode_all = (
            self._encode_with_error_compensation if self.error_compensation else self._encode
        )
        codes = encode_all(replace(layer, weight=weight), lines, books)
        location, scale = (line.half() for line in lines)
        cluster, table = layer.statistics.cluster, self._table(books)
        coded = Companded(
            codes, cluster, layer.depths, location, scale, table, self.scale_bits, exponent
        )
        quantized = QuantizedLinear(coded, None if layer.bias is None else stored(layer.bias))
        if not self.correct_bias:
            return quantized
        # prefer the mean of inputs from blocks already quantized
        mean = layer.statistics.input_mean if layer.inputs is None else layer.inputs.mean
        # Algorithm 1 of the paper has the opposite sign, which would double the mean error
        shift = (layer.weight - coded.decode()) @ mean
        bias = shift if layer.bias is None else layer.bias + shift
        return quantized.with_bias(bias, added=layer.bias is None)

    def empty_layer(
        self, rows: int, statistics: LayerStatistics, codebooks: Codebooks | None, has_bias: bool
    ) -> QuantizedLinear:
        """Return a layer at depth 0 everywhere: the storage that does not depend on the rate."""
        clusters, cols = statistics.grad_var.shape
        books = self._books(LinearLayer("bare", torch.zeros(0, 0), codebooks=codebooks))
        coded = Companded(
            codes=torch.zeros(1, dtype=torch.uint8).expand(rows, cols),
            cluster=statistics.cluster,
            depths=torch.zeros(clusters, cols, dtype=torch.uint8),
            location=torch.zeros(clusters, cols).half(),
            scale=torch.zeros(clusters, cols).half(),
            codebook=self._table(books),
            scale_bits=self.scale_bits,
        )
        bias = torch.zeros(rows).half() if has_bias or self.correct_bias else None
        return QuantizedLinear(coded, bias, bias_added=self.correct_bias and not has_bias)

    def distortion(self, layer: LinearLayer) -> Float[Tensor, "clusters cols 9"]:
        """Return the mean squared error per weight of every group at depths 0..8.

        Errors are measured up to depth 5 and extrapolated by a factor of 4 per bit, by the
        high-resolution law; for uniform levels, whose range grows with depth, the actual factor is
        3.3 to 3.7.

        Raises:
            RadioError: `levels` is "learned" and the layer has no codebooks.
        """
        assert layer.statistics is not None
        cluster, books = layer.statistics.cluster, self._books(layer)
        weight, exponent = normalized(layer.weight, *UNSCALED)
        location, scale = self._moments(weight, cluster)
        error = torch.empty(*location.shape, MAX_BITS + 1)
        for c in range(len(location)):
            groups = weight[cluster == c].T.contiguous()
            for bits, book in enumerate(books[: MEASURED_BITS + 1]):
                for cols in torch.arange(len(groups)).split(_at_once(bits, groups.device)):
                    moments = location[c, cols], scale[c, cols]
                    line = FITS[self.scale_fit](groups[cols], *moments, book, self._store)
                    codes, line = self._code(groups[cols], line, book)
                    decoded = decode(codes, *line, book)
                    error[c, cols, bits] = (decoded - groups[cols]).square().mean(dim=1)
        further = torch.arange(1, MAX_BITS - MEASURED_BITS + 1)
        error[..., MEASURED_BITS + 1 :] = error[..., MEASURED_BITS, None] * torch.exp2(
            -2.0 * further
        )
        return error * 4.0**exponent

    @property
    def _store(self) -> Store:
        return STORES[self.scale_bits]

    def _books(self, layer: LinearLayer) -> list[Codebook]:
        """Return the codebooks of depths 0..8."""
        if self.levels != LEARNED:
            return [LAWS[self.levels](bits) for bits in range(MAX_BITS + 1)]
        if layer.codebooks is None:
            raise RadioError(
                f"method.quantizer.levels={LEARNED} needs levels and there are none: make "
                "artifacts.codebook by an earlier step, or set method.quantizer.levels=companded"
            )
        # round as stored, so that weights are encoded and decoded with the same levels
        return [nearest(levels.half().float()) for levels in layer.codebooks]

    def _table(self, books: list[Codebook]) -> Tensor | None:
        """Return the levels as stored, or None if the decoder can compute them."""
        return None if self.levels in KNOWN_TO_DECODER else join([book.levels for book in books])

    def _lines(
        self, weight: Tensor, cluster: Tensor, depths: Tensor, books: list[Codebook]
    ) -> tuple[Tensor, Tensor]:
        """Return location and scale [clusters, cols] of every group, fitted at its depth."""
        location, scale = self._moments(weight, cluster)
        for c, of_cluster in enumerate(depths):
            groups = weight[cluster == c].T.contiguous()
            self._fit(groups, location[c], scale[c], of_cluster, books)
        if self.center_on == "mean":
            location[depths == 0] = 0
        return location, scale

    def _fit(
        self,
        groups: Tensor,
        location: Tensor,
        scale: Tensor,
        depths: Tensor,
        books: list[Codebook],
    ) -> None:
        """Overwrite the moments of one cluster's groups with their fitted lines."""

        def fit(cols: Tensor, book: Codebook) -> None:
            moments = location[cols], scale[cols]
            location[cols], scale[cols] = FITS[self.scale_fit](
                groups[cols], *moments, book, self._store
            )

        in_threads(fit, _alike(depths, books), groups.device)

    def _moments(self, weight: Tensor, cluster: Tensor) -> tuple[Tensor, Tensor]:
        """Return centre and deviation of every group [clusters, cols], as stored."""
        return self._store(*CENTERS[self.center_on](weight, cluster, int(cluster.max()) + 1))

    def _encode(
        self, layer: LinearLayer, lines: tuple[Tensor, Tensor], books: list[Codebook]
    ) -> Tensor:
        """Return codes [rows, cols] of all weights; corrected lines overwrite `lines`."""
        assert layer.statistics is not None and layer.depths is not None
        codes = torch.empty(layer.weight.shape, dtype=torch.uint8)
        location, scale = lines
        for c, depths in enumerate(layer.depths):
            rows = (layer.statistics.cluster == c).nonzero()[:, 0]
            groups = layer.weight[rows].T.contiguous()
            coded = self._code_cluster(groups, location[c], scale[c], depths, books)
            codes.index_copy_(0, rows, coded.T.contiguous())
        return codes

    def _code_cluster(
        self,
        groups: Tensor,
        location: Tensor,
        scale: Tensor,
        depths: Tensor,
        books: list[Codebook],
    ) -> Tensor:
        """Return codes [cols, rows] of a cluster's groups; corrected lines overwrite the fitted."""
        coded = torch.empty(groups.shape, dtype=torch.uint8)

        def code(cols: Tensor, book: Codebook) -> None:
            of_depth, line = self._code(groups[cols], (location[cols], scale[cols]), book)
            location[cols], scale[cols] = line
            coded.index_copy_(0, cols, of_depth.to(coded))

        in_threads(code, _alike(depths, books), groups.device)
        return coded

    def _code(
        self, groups: Tensor, line: tuple[Tensor, Tensor], book: Codebook
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Return codes [groups, numel] of groups of one depth, and the lines that decode them."""
        codes = encode(groups, *line, book)
        if self.gain_correction:
            levels = book.levels[codes]
            line = with_gain(groups, levels, *line, self.gain_correction, self._store)
        return codes, line

    def _encode_with_error_compensation(
        self, layer: LinearLayer, lines: tuple[Tensor, Tensor], books: list[Codebook]
    ) -> Tensor:
        """Return codes [rows, cols]; refitted lines overwrite `lines`."""
        assert layer.statistics is not None and layer.depths is not None
        if layer.inputs is None:
            raise RadioError(
                "method.quantizer.error_compensation=true needs the moments of inputs, which are "
                "missing: add inputs to `needs` in the method's YAML, or set "
                "method.quantizer.error_compensation=false"
            )
        location, scale = lines
        depths = layer.depths.T.tolist()
        clusters = range(len(layer.depths))
        members = [(layer.statistics.cluster == c).nonzero()[:, 0] for c in clusters]
        codes = torch.zeros(layer.weight.T.shape, dtype=torch.uint8)

        def quantize_column(j: int, column: Tensor) -> Tensor:
            result = torch.empty_like(column)
            for c, rows in enumerate(members):
                own = column if len(members) == 1 else column[rows]
                at = own[None], location[c, j : j + 1], scale[c, j : j + 1], books[depths[j][c]]
                coded, location[c, j], scale[c, j] = _coded_and_refitted(*at, self._store)
                codes[j, rows] = coded.to(codes)
                result[rows] = location[c, j] + scale[c, j] * at[3].levels[coded]
            return result

        # bias correction removes the error due to the mean input
        hessian = layer.inputs.covariance if self.correct_bias else layer.inputs.second_moment
        with_error_compensation(layer.weight, inverse_factor(hessian), quantize_column)
        return codes.T.contiguous()


def _alike(depths: Tensor, books: list[Codebook]) -> Iterator[tuple[Tensor, Codebook]]:
    """Yield batches of groups of equal depth, by index in `depths`, with their codebook."""
    for bits in depths.unique().tolist():
        for cols in (depths == bits).nonzero()[:, 0].split(_at_once(bits, depths.device)):
            yield cols, books[bits]


def _at_once(bits: int, device: torch.device) -> int:
    levels = LEVELS_AT_ONCE if device.type == "cpu" else LEVELS_AT_ONCE_ON_GPU
    return levels // 2**bits


def _coded_and_refitted(
    column: Tensor, location: Tensor, scale: Tensor, book: Codebook, store: Store
) -> tuple[Tensor, Tensor, Tensor]:
    """Return codes [rows] of a column [1, rows], and their least-squares line, as stored."""
    for _ in range(FEEDBACK_ROUNDS):
        coded = encode(column, location, scale, book)[0]
        location, scale = refitted(column[0], book.levels[coded], location, scale, store)
    return encode(column, location, scale, book)[0], location[0], scale[0]
