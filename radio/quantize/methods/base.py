"""What a method is given and what it gives back."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from jaxtyping import Float, UInt8
from torch import Tensor, nn

from radio.quantize.input_stats import InputMoments
from radio.pack.codecs import QuantizedLinear
from radio.calibrate.statistics import LayerStatistics
from radio.theory.codebook import Codebooks


@dataclass(frozen=True)
class LinearLayer:
    """A linear layer, and what upstream steps know of it where the method's `needs` asks.

    Attributes:
        name: the module's name in the model.
        weight: W [rows, cols] = [outputs, inputs], float32.
        bias: b [rows] or None.
        statistics: calibration statistics (`needs: [statistics]`).
        depths: bit depth of each row cluster and column (`needs: [allocation]`).
        inputs: moments of its inputs, which come from blocks already quantized (`needs: [inputs]`).
        codebooks: levels of depths 0..8, the same for all layers (`needs: [codebook]`).
    """

    name: str
    weight: Float[Tensor, "rows cols"]
    bias: Float[Tensor, " rows"] | None = None
    statistics: LayerStatistics | None = None
    depths: UInt8[Tensor, "clusters cols"] | None = None
    inputs: InputMoments | None = None
    codebooks: Codebooks | None = None


@runtime_checkable
class Method(Protocol):
    """A frozen dataclass of hyperparameters with one verb."""

    def check_rate(self, rate_bits: float) -> None:
        """Raise a `RadioError` if the method can't quantize at `rate_bits`."""
        ...

    def quantize(self, layer: LinearLayer, rate_bits: float) -> QuantizedLinear:
        """Turn a layer into codes and side information at a nominal `rate_bits` a weight."""
        ...


@runtime_checkable
class BlockMethod(Method, Protocol):
    """A method that rewrites a decoder block before its layers are quantized (`needs: [inputs]`).

    The block computes the same afterwards, up to rounding, by parameters that lose less in
    quantization: channels scaled, or rotated. `radio.models.scaling_groups` says which can be scaled.
    """

    def reparametrize(
        self, block: nn.Module, inputs: Mapping[str, InputMoments], rate_bits: float
    ) -> None:
        """Change parameters of `block` in place, but not its function.

        Layers are quantized from what is left here, and are given the moments of their inputs as
        they are then. Parameters that are not quantized are stored in float16.

        Args:
            block: the decoder block, float32, in evaluation mode.
            inputs: of each linear layer by its name in the block, as `block` still is.
            rate_bits: nominal bits a weight that its layers are about to be quantized at.
        """
        ...


@runtime_checkable
class DepthMethod(Method, Protocol):
    """A method that quantizes each group of a layer at the depth it was allocated."""

    def distortion(self, layer: LinearLayer) -> Float[Tensor, "clusters cols 9"]:
        """Mean squared error a weight of every group, were it quantized at depths 0..8."""
        ...

    def bare(
        self, rows: int, statistics: LayerStatistics, codebooks: Codebooks | None, has_bias: bool
    ) -> QuantizedLinear:
        """A layer at depth 0 everywhere: all that is stored whatever the rate."""
        ...


@runtime_checkable
class MatchableMethod(Method, Protocol):
    """A method without allocated depths that can be set to spend a given true rate.

    The quantize step sets it where `target.bits` is asked, as experiments with `match: bits_true`
    do of every method. What is free is None in the method's YAML; the step refuses a solution that
    changes anything else.
    """

    def matched(
        self, bits_true: float, shapes: Sequence[tuple[int, int]]
    ) -> tuple["MatchableMethod", float]:
        """This method with its free setting (group size, kept columns) solved, and its rate.

        Args:
            bits_true: all stored bits a weight, side information included, over all layers.
            shapes: rows and columns of every linear layer.

        Returns:
            A method that spends at most `bits_true`, and as much of it as its setting allows.

        Raises:
            RadioError: no setting reaches `bits_true`; the message gives the range that can be.
        """
        ...
