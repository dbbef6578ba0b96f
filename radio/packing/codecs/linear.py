"""A linear layer after quantization."""

from dataclasses import dataclass, replace

from jaxtyping import Float
from torch import Tensor

from radio.packing.codecs.base import Codec
from radio.packing.floats import stored


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
