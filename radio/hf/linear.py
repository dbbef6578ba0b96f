"""A linear layer whose weights stay packed in memory."""

from collections.abc import Mapping
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

from radio.packing.codecs import CODECS


def packed_linear(
    inputs: Float[Tensor, "*batch cols"],
    codec: str,
    tensors: Mapping[str, Tensor],
    fields: Mapping[str, Any],
    bias: Float[Tensor, " rows"] | None,
) -> Float[Tensor, "*batch rows"]:
    """Compute inputs W^T + bias of a packed W, which is decoded for this call and then forgotten.

    Args:
        inputs: in any floating-point dtype; decoded weights are cast to it.
        codec: name of the codec.
        tensors: what the codec reads, its own and the shared ones, on the device of `inputs`.
        fields: the codec's fields.
        bias: in the dtype of `inputs`.
    """
    with inputs.device:  # where codecs make their index tensors
        weight = CODECS[codec].from_tensors(tensors, fields).decode()
    return nn.functional.linear(inputs, weight.to(inputs.dtype), bias)


class Packed(nn.Module):
    """Tensors of a codec as buffers, which `.to(dtype)` leaves in the dtype they are stored in."""

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        """Register `tensors` as buffers of their names."""
        super().__init__()
        for name, tensor in tensors.items():
            self.register_buffer(name, tensor)

    def _apply(self, fn: Any, recurse: bool = True) -> "Packed":
        stored = dict(self.named_buffers(recurse=False))
        super()._apply(fn, recurse)
        for name, tensor in stored.items():
            applied = self.get_buffer(name)
            if applied.dtype != tensor.dtype:
                setattr(self, name, tensor.to(applied.device))
        return self


class PackedLinear(Packed):
    """The place of an `nn.Linear` whose weights are coded; made empty, and filled by a loader.

    Attributes:
        bias: [rows] in the model's dtype, or None.
    """

    bias: nn.Parameter | None

    def __init__(
        self,
        codec: str,
        fields: Mapping[str, Any],
        tensors: Mapping[str, Tensor],
        bias: Tensor | None,
        shared: Packed,
    ) -> None:
        """Hold `tensors` of `codec`, and read those of `shared`, another module's child."""
        super().__init__(tensors)
        self.codec, self.fields = codec, dict(fields)
        self.bias = None if bias is None else nn.Parameter(bias, requires_grad=False)
        # in a tuple, so that it does not become a child here too
        self._shared = (shared,)

    def forward(self, inputs: Tensor) -> Tensor:
        """Product with the weights that the codes stand for."""
        (shared,) = self._shared
        common = {name: tensor.to(inputs.device) for name, tensor in shared.named_buffers()}
        tensors = dict(self.named_buffers(recurse=False)) | common
        return packed_linear(inputs, self.codec, tensors, self.fields, self.bias)

    def extra_repr(self) -> str:
        """What `print(model)` shows."""
        return ", ".join([self.codec, *(f"{key}={value}" for key, value in self.fields.items())])
