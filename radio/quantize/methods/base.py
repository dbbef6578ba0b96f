"""What a method is given and what it gives back."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from jaxtyping import Float, UInt8
from torch import Tensor, nn

from radio.calibrate.statistics import LayerStatistics
from radio.pack.codecs import QuantizedLinear
from radio.quantize.input_stats import InputStats
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
    inputs: InputStats | None = None
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
    quantization: channels scaled, or rotated. `radio.models.scaling_groups` lists them.
    """

    def reparametrize(
        self, block: nn.Module, inputs: Mapping[str, InputStats], rate_bits: float
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
class MixedDepthMethod(Method, Protocol):
    """A method that quantizes each group of a layer at the depth it was allocated."""

    def distortion(self, layer: LinearLayer) -> Float[Tensor, "clusters cols 9"]:
        """Mean squared error a weight of every group, were it quantized at depths 0..8."""
        ...

    def empty_layer(
        self, rows: int, statistics: LayerStatistics, codebooks: Codebooks | None, has_bias: bool
    ) -> QuantizedLinear:
        """A layer at depth 0 everywhere: all that is stored whatever the rate."""
        ...


@runtime_checkable
class BitsSolvableMethod(Method, Protocol):
    """A method without allocated depths that can be set to spend a given true rate.

    The quantize step sets it where `target.bpw` is asked, as experiments with `match: bpw`
    do of every method. What is free is None in the method's YAML; the step refuses a solution that
    changes anything else.
    """

    def solve_for_bits(
        self, bpw: float, shapes: Sequence[tuple[int, int]]
    ) -> tuple["BitsSolvableMethod", float]:
        """This method with its free setting (group size, kept columns) solved, and its rate.

        Args:
            bpw: all stored bits a weight, side information included, over all layers.
            shapes: rows and columns of every linear layer.

        Returns:
            A method that spends at most `bpw`, and as much of it as its setting allows.

        Raises:
            RadioError: no setting reaches `bpw`; the message gives the range that can be.
        """
        ...
