"""Apply a method to every linear layer of a decoder."""

from collections.abc import Mapping

from transformers import PreTrainedModel

from radio.allocate import Depths
from radio.calibrate import LayerStatistics
from radio.codebook import Codebooks
from radio.methods.base import LinearLayer, Method
from radio.models import decoder_linears
from radio.packing.codecs import QuantizedLinear
from radio.runtime.errors import RadioError
from radio.runtime.progress import progress


def quantize_layers(
    model: PreTrainedModel,
    method: Method,
    rate_bits: float,
    statistics: Mapping[str, LayerStatistics],
    depths: Depths,
    codebooks: Codebooks | None = None,
) -> dict[str, QuantizedLinear]:
    """Codes and side information of every linear layer inside the decoder blocks.

    `statistics` and `depths` are empty for a method that needs neither; `codebooks` has the levels
    of depths 0..8 for a method that decodes by learned ones.

    Raises:
        RadioError: statistics or depths that were made for another model.
    """
    linears = decoder_linears(model)
    for what, given in (("statistics", statistics), ("allocation", depths)):
        if given and set(given) != set(linears):
            raise RadioError(
                f"artifacts.{what} belongs to a model with other layers: make it for this model"
            )
    quantized = {}
    for name, linear in progress(linears.items(), "quantize"):
        layer = LinearLayer(
            name=name,
            weight=linear.weight.detach().float(),
            bias=None if linear.bias is None else linear.bias.detach().float(),
            statistics=statistics.get(name),
            depths=depths.get(name),
            codebooks=codebooks,
        )
        quantized[name] = method.quantize(layer, rate_bits)
    return quantized
