"""Mean depth from a target in bits or bytes: the target minus all side information."""

from collections.abc import Mapping

from transformers import PreTrainedModel

from radio.calibrate.statistics import LayerStatistics
from radio.models import decoder_linears
from radio.pack.file import assemble, file_bytes
from radio.quantize.methods.base import MixedDepthMethod
from radio.rate import Target
from radio.runtime.errors import RadioError
from radio.theory.allocation import MAX_BITS
from radio.theory.codebook import Codebooks

# codes of depth b in one matrix are padded to groups of eight: at most b bytes for each b = 1..8
PADDING_BYTES = sum(range(1, MAX_BITS + 1))


def mean_depth(
    target: Target,
    skeleton: PreTrainedModel,
    method: MixedDepthMethod,
    statistics: Mapping[str, LayerStatistics],
    codebooks: Codebooks | None,
) -> float:
    """Return the mean depth, in bits per weight, that meets a target of bits or bytes.

    An exact allocation at this depth does not exceed the target; dual ascent may, by rounding.

    Args:
        target: target of kind "bpw" (true bits per weight) or "size" (bytes of the file).
        skeleton: the model; its weights may be on the meta device, since only shapes are read.
        method: method whose side information has the same size at every rate.
        statistics: calibration statistics of every layer.
        codebooks: learned levels, if the method decodes with them.

    Raises:
        RadioError: depths from 0 to 8 bits cannot reach the target.
    """
    layers = {
        name: method.empty_layer(
            linear.weight.shape[0], statistics[name], codebooks, linear.bias is not None
        )
        for name, linear in decoder_linears(skeleton).items()
    }
    empty = assemble(skeleton, layers)
    weights = empty.weights()
    stored = 8 * file_bytes(empty) / weights if target.kind == "size" else empty.bpw()
    fixed_bits = stored + 8 * PADDING_BYTES * len(layers) / weights
    # bits per weight in one unit of the target
    unit_bits = 8 / weights if target.kind == "size" else 1.0
    return depth_left(target, fixed_bits, unit_bits)


def depth_left(target: Target, fixed_bits: float, unit_bits: float) -> float:
    """Return the mean depth that a target of bits or bytes leaves for codes.

    Args:
        target: target of kind "bpw" or "size".
        fixed_bits: storage that does not depend on the depths, in bits per weight.
        unit_bits: bits per weight in one unit of the target.

    Raises:
        RadioError: depths from 0 to 8 bits cannot reach the target.
    """
    depth = target.amount * unit_bits - fixed_bits
    if not 0 < depth <= MAX_BITS:
        low, high = fixed_bits / unit_bits, (fixed_bits + MAX_BITS) / unit_bits
        reach = (
            f"{low / 1e6:.4g} to {high / 1e6:.4g} MB"
            if target.kind == "size"
            else f"{low:.3f} to {high:.3f} bits per weight"
        )
        raise RadioError(
            f"target.{target} is out of reach: this model and method reach {reach}; "
            "set a target in between"
        )
    return depth
