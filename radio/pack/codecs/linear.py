"""A linear layer after quantization."""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor, nn

from radio.pack.codecs.base import Codec
from radio.pack.floats import stored


@dataclass(frozen=True)
class QuantizedLinear:
    """A linear layer after quantization: coded weights and their bias.

    `bias_added` is true if the original layer had no bias, so that the bias counts as a cost of
    quantization.
    """

    weight: Codec
    bias: Float[Tensor, " rows"] | None = None
    bias_added: bool = False

    def stored_bytes(self) -> int:
        """Return the bytes of codes, side information and an added bias, without shared tensors."""
        tensors = list(self.weight.to_tensors().values())
        if self.bias is not None and self.bias_added:
            tensors.append(self.bias)
        return sum(tensor.nbytes for tensor in tensors)

    def with_bias(self, bias: Float[Tensor, " rows"], added: bool) -> "QuantizedLinear":
        """Return the same weights with another bias, in its stored dtype."""
        return replace(self, bias=stored(bias), bias_added=added)


@torch.no_grad()
def install_layer(linear: nn.Linear, quantized: QuantizedLinear) -> None:
    """Overwrite a layer's weights with the decoded ones, and set, add or remove its bias."""
    linear.weight.copy_(quantized.weight.decode())
    bias = quantized.bias
    parameter = None if bias is None else nn.Parameter(bias.to(linear.weight))
    linear.register_parameter("bias", parameter)
