"""A linear layer after quantization."""

from dataclasses import dataclass, replace

from jaxtyping import Float, Float16
from torch import Tensor

from radio.packing.codecs.base import Codec


@dataclass(frozen=True)
class QuantizedLinear:
    """A linear layer after quantization: coded weights and the bias that goes with them.

    `bias_added` is true where the original layer had no bias, so that the bias is part of the
    price of quantization.
    """

    weight: Codec
    bias: Float16[Tensor, " rows"] | None = None
    bias_added: bool = False

    def stored_bytes(self) -> int:
        """Bytes of codes, side information and an added bias, without what layers share."""
        tensors = list(self.weight.to_tensors().values())
        if self.bias is not None and self.bias_added:
            tensors.append(self.bias)
        return sum(tensor.nbytes for tensor in tensors)

    def with_bias(self, bias: Float[Tensor, " rows"], added: bool) -> "QuantizedLinear":
        """The same weights under another bias, stored in float16."""
        return replace(self, bias=bias.half(), bias_added=added)
