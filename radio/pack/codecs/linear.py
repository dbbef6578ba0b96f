"""A linear layer after quantization."""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor, nn

from radio.pack.codecs.base import Codec
from radio.pack.floats import stored


@dataclass(frozen=True)
class QuantizedLinear:
    """A linear layer after quantization: coded weights and the bias that goes with them.

    `bias_added` is true where the original layer had no bias, so that the bias is part of the
    price of quantization.
    """

    weight: Codec
    bias: Float[Tensor, " rows"] | None = None
    bias_added: bool = False

    def stored_bytes(self) -> int:
        """Bytes of codes, side information and an added bias, without what layers share."""
        tensors = list(self.weight.to_tensors().values())
        if self.bias is not None and self.bias_added:
            tensors.append(self.bias)
        return sum(tensor.nbytes for tensor in tensors)

    def with_bias(self, bias: Float[Tensor, " rows"], added: bool) -> "QuantizedLinear":
        """Return the same weights with another bias, as it is stored."""
        return replace(self, bias=stored(bias), bias_added=added)


@torch.no_grad()
def install_layer(linear: nn.Linear, quantized: QuantizedLinear) -> None:
    """Overwrite a layer's weights by the decoded ones, and its bias, which it may gain or lose."""
    linear.weight.copy_(quantized.weight.decode())
    bias = quantized.bias
    parameter = None if bias is None else nn.Parameter(bias.to(linear.weight))
    linear.register_parameter("bias", parameter)
