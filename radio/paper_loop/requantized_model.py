"""The model under refinement: quantized weights in the model, and a copy of the originals."""

from collections.abc import Mapping
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor
from transformers import PreTrainedModel

from radio.allocate.depths import Depths
from radio.calibrate.statistics import LayerStatistics
from radio.models import decoder_linears
from radio.pack.codecs.linear import install_layer
from radio.quantize.methods.base import LinearLayer, Method
from radio.runtime.device import default_device, to_device


@dataclass(frozen=True)
class RequantizedModel:
    """A model whose linear layers are requantized from their original weights.

    Attributes:
        model: the model; its layers are quantized after the first `install`.
        weights: original weights by layer, float32, on the CPU.
        biases: original biases by layer, float32, on the CPU; None for layers without a bias.
    """

    model: PreTrainedModel
    weights: dict[str, Float[Tensor, "rows cols"]]
    biases: dict[str, Float[Tensor, " rows"] | None]

    @classmethod
    def of(cls, model: PreTrainedModel) -> "RequantizedModel":
        """Return `model`, which must be on the CPU, with copies of its weights and biases."""
        linears = decoder_linears(model)
        weights = {name: linear.weight.detach().float().clone() for name, linear in linears.items()}
        biases: dict[str, Tensor | None] = {
            name: None if linear.bias is None else linear.bias.detach().float().clone()
            for name, linear in linears.items()
        }
        return cls(model, weights, biases)

    def install(
        self,
        method: Method,
        statistics: Mapping[str, LayerStatistics],
        depths: Depths,
        rate_bits: float,
    ) -> None:
        """Quantize the original weights of each layer, and install the result in the model."""
        for name, linear in decoder_linears(self.model).items():
            layer = LinearLayer(
                name, self.weights[name], self.biases[name], statistics[name], depths[name]
            )
            device = linear.weight.device
            with default_device(device):
                install_layer(linear, method.quantize(to_device(layer, device), rate_bits))
