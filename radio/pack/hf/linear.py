"""Linear layers whose weights stay packed in memory."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from radio.kernels.checks import checked
from radio.kernels.dispatch import packed_linear
from radio.kernels.layout import PackedMatrix
from radio.pack.codecs import CODECS, Codec


class Packed(nn.Module):
    """Tensors of a codec as buffers that keep their stored dtype under `.to(dtype)`."""

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        """Register `tensors` as buffers by name."""
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


class SharedTensors(Packed):
    """Tensors that coded layers share, such as a codebook."""

    def forward(self) -> dict[str, Tensor]:
        """Return the tensors by name; a hook of accelerate first loads offloaded ones."""
        return dict(self.named_buffers(recurse=False))


class PackedLinear(Packed):
    """Replacement of an `nn.Linear` by coded weights; created empty, filled by a loader.

    Weights are decoded for each product and not kept.

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
        shared: SharedTensors,
    ) -> None:
        """Hold `tensors` of `codec`, and refer to `shared`, which is a child of another module."""
        super().__init__(tensors)
        self.codec, self.fields = codec, dict(fields)
        self.bias = None if bias is None else nn.Parameter(bias, requires_grad=False)
        # in a tuple, so that it is not registered as a child here too
        self._shared = (shared,)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the product with the decoded weights."""
        with inputs.device:  # device of the codecs' index tensors
            weight = self.coded(inputs.device).decode()
        return nn.functional.linear(inputs, weight.to(inputs.dtype), self.bias)

    def coded(self, device: torch.device) -> Codec:
        """Return the codec with the tensors of the buffers."""
        (shared,) = self._shared
        tensors = dict(self.named_buffers(recurse=False)) | shared()
        on_device = {name: tensor.to(device) for name, tensor in tensors.items()}
        with device:
            return CODECS[self.codec].from_tensors(on_device, self.fields)

    def extra_repr(self) -> str:
        """Return the text for `print(model)`."""
        return ", ".join([self.codec, *(f"{key}={value}" for key, value in self.fields.items())])


class KernelLinear(Packed):
    """A linear layer whose codes are laid out for the kernels.

    Kernels have no backward pass, so weights are decoded if the inputs require a gradient.

    Attributes:
        rows: outputs of the layer.
        bias: [rows] in the model's dtype, or None.
    """

    bias: nn.Parameter | None

    def __init__(self, matrix: PackedMatrix, bias: nn.Parameter | None) -> None:
        """Hold the tensors of `matrix` as buffers."""
        super().__init__(matrix.named_tensors())
        self.rows, self.bias = matrix.rows, bias

    def matrix(self) -> PackedMatrix:
        """Return the weights as a view of the current buffers.

        It is rebuilt at each call, since moving, offloading or loading a model replaces buffers.
        """
        tensors: dict[str, Any] = self._buffers
        return PackedMatrix(self.rows, **tensors)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the product with the coded weights."""
        matrix = self.matrix()
        if torch.is_grad_enabled() and inputs.requires_grad:
            checked(matrix)
            return nn.functional.linear(inputs, matrix.decode().to(inputs.dtype), self.bias)
        return packed_linear(inputs, matrix, self.bias)

    def extra_repr(self) -> str:
        """Return the text for `print(model)`."""
        rows, cols = self.matrix().shape
        return f"rows={rows}, cols={cols}"
