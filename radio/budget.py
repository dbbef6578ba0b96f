"""How many bits of codes does a target in bits or bytes leave, once all else is stored?"""

from collections.abc import Mapping
from typing import Protocol

from transformers import PreTrainedModel

from radio.calibrate import LayerStatistics
from radio.checkpoint import compress, file_bytes
from radio.models import decoder_linears
from radio.packing.codecs import QuantizedLinear
from radio.rates import Target
from radio.runtime.errors import RadioError
from radio.theory.allocation import MAX_BITS

# codes of one depth in one matrix are padded to whole groups of eight: b bytes at most, b = 1..8
PADDING_BYTES = sum(range(1, MAX_BITS + 1))


class Bare(Protocol):
    """A method that can tell what it stores of a layer whatever the rate."""

    def bare(self, rows: int, statistics: LayerStatistics, has_bias: bool) -> QuantizedLinear:
        """The layer without a single code."""
        ...


def mean_depth(
    target: Target,
    skeleton: PreTrainedModel,
    method: Bare,
    statistics: Mapping[str, LayerStatistics],
) -> float:
    """Mean depth, in bits a weight, that spends a target of bits or bytes and no more.

    Args:
        target: of kind "bits" (true bits a weight) or "size" (bytes of the file).
        skeleton: the model; its weights may be on the meta device, since only shapes are read.
        method: stores the same side information at every rate.
        statistics: of every layer.

    Raises:
        RadioError: the target lies outside what depths from 0 to 8 bits reach.
    """
    layers = {
        name: method.bare(linear.weight.shape[0], statistics[name], linear.bias is not None)
        for name, linear in decoder_linears(skeleton).items()
    }
    empty = compress(skeleton, layers)
    weights = empty.weights()
    padding_bits = 8 * PADDING_BYTES * len(layers) / weights
    if target.kind == "bits":
        fixed = empty.bits_true() + padding_bits
        low, high, unit = fixed, fixed + MAX_BITS, 1.0
    else:
        fixed = 8 * file_bytes(empty) / weights + padding_bits
        unit = weights / 8e6
        low, high = fixed * unit, (fixed + MAX_BITS) * unit
    depth = (target.amount if target.kind == "bits" else target.amount / 1e6) / unit - fixed
    if not 0 < depth <= MAX_BITS:
        what = "bits a weight" if target.kind == "bits" else "MB"
        raise RadioError(
            f"target.{target} is out of reach: this model and method reach {low:.3f} to "
            f"{high:.3f} {what}; set a target in between"
        )
    return depth
