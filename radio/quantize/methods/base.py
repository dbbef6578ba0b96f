"""Protocols of methods, and the layer that a method quantizes."""

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
    """A linear layer, with the results of upstream steps that the method `needs`.

    Attributes:
        name: the module's name in the model.
        weight: W [rows, cols] = [outputs, inputs], float32.
        bias: b [rows] or None.
        statistics: calibration statistics (`needs: [statistics]`).
        depths: bit depth of each row cluster and column (`needs: [allocation]`).
        inputs: moments of its inputs, computed with earlier blocks quantized (`needs: [inputs]`).
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
    """A quantization method: a frozen dataclass of hyperparameters."""

    def check_rate(self, rate_bits: float) -> None:
        """Raise a `RadioError` if the method can't quantize at `rate_bits`."""
        ...

    def quantize(self, layer: LinearLayer, rate_bits: float) -> QuantizedLinear:
        """Return codes and side information of a layer at nominal `rate_bits` per weight."""
        ...


@runtime_checkable
class BlockMethod(Method, Protocol):
    """A method that rewrites a decoder block before its layers are quantized (`needs: [inputs]`).

    The block still computes the same function, up to rounding, but its parameters quantize with
    less error: channels are scaled or rotated. `radio.models.scaling_groups` lists the channels.
    """

    def reparametrize(
        self, block: nn.Module, inputs: Mapping[str, InputStats], rate_bits: float
    ) -> None:
        """Change parameters of `block` in place, but not its function.

        Layers are then quantized from the changed parameters, with input moments recomputed on the
        changed block. Parameters that are not quantized are stored in float16.

        Args:
            block: the decoder block, float32, in evaluation mode.
            inputs: input moments before the change, by each linear layer's name in the block.
            rate_bits: nominal bits per weight of the quantization that follows.
        """
        ...


@runtime_checkable
class MixedDepthMethod(Method, Protocol):
    """A method that quantizes each group of a layer at its allocated depth."""

    def distortion(self, layer: LinearLayer) -> Float[Tensor, "clusters cols 9"]:
        """Return the mean squared error per weight of every group at depths 0..8."""
        ...

    def empty_layer(
        self, rows: int, statistics: LayerStatistics, codebooks: Codebooks | None, has_bias: bool
    ) -> QuantizedLinear:
        """Return a layer at depth 0 everywhere: the storage that does not depend on the rate."""
        ...


@runtime_checkable
class BitsSolvableMethod(Method, Protocol):
    """A method without allocated depths, with a setting that can be solved for a true rate.

    The quantize step solves for it if `target.bpw` is set, as experiments with `match: bpw` do for
    every method. The free setting is null in the method's YAML; the step refuses a solution that
    changes any other setting.
    """

    def solve_for_bits(
        self, bpw: float, shapes: Sequence[tuple[int, int]]
    ) -> tuple["BitsSolvableMethod", float]:
        """Return this method with its free setting (group size, kept columns) solved, and its rate.

        Args:
            bpw: all stored bits per weight, including side information, over all layers.
            shapes: rows and columns of every linear layer.

        Returns:
            The method that uses most of `bpw` without exceeding it, and its `rate_bits`.

        Raises:
            RadioError: no setting reaches `bpw`; the message gives the reachable range.
        """
        ...
