"""A linear layer whose weights stay packed in memory."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from radio.kernels.layout import PackedMatrix, packed_matrix
from radio.kernels.linear import packed_linear
from radio.packing.codecs import CODECS, Codec, Companded


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

    Companded weights are laid out for the kernels at the first product, beside the stored form.
    Others, and all where a gradient of the inputs is wanted, are decoded for each product and then
    forgotten.

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
        self._matrix: PackedMatrix | None = None

    def _apply(self, fn: Any, recurse: bool = True) -> "PackedLinear":
        super()._apply(fn, recurse)
        self._matrix = None  # which may be on another device
        return self

    def forward(self, inputs: Tensor) -> Tensor:
        """Product with the weights that the codes stand for."""
        wants_gradient = torch.is_grad_enabled() and inputs.requires_grad
        if self.codec != Companded.name or wants_gradient:
            with inputs.device:  # where codecs make their index tensors
                weight = self._coded(inputs.device).decode()
            return nn.functional.linear(inputs, weight.to(inputs.dtype), self.bias)
        if self._matrix is None:
            coded = self._coded(torch.device("cpu"))
            assert isinstance(coded, Companded)
            self._matrix = packed_matrix(coded).to(inputs.device)
        return packed_linear(inputs, self._matrix, self.bias)

    def _coded(self, device: torch.device) -> Codec:
        """The weights as their codec holds them, read out of the buffers."""
        (shared,) = self._shared
        tensors = dict(self.named_buffers(recurse=False)) | dict(shared.named_buffers())
        on_device = {name: tensor.to(device) for name, tensor in tensors.items()}
        with device:
            return CODECS[self.codec].from_tensors(on_device, self.fields)

    def extra_repr(self) -> str:
        """What `print(model)` shows."""
        return ", ".join([self.codec, *(f"{key}={value}" for key, value in self.fields.items())])
