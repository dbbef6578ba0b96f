"""Moments of the inputs of linear layers."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from radio.runtime.errors import RadioError


@dataclass(frozen=True)
class InputStats:
    """Moments of a linear layer's inputs x over all calibration tokens, float32.

    Layers that read the same tensor (query, key and value; gate and up) hold the same object.

    Attributes:
        mean: E[x].
        second_moment: E[x x^T], GPTQ's Hessian up to a factor.
        tokens: number of tokens.
        mean_abs: E|x|, each channel's magnitude, less sensitive to a few massive tokens than the
            second moment.
    """

    mean: Float[Tensor, " cols"]
    second_moment: Float[Tensor, "cols cols"]
    tokens: int
    mean_abs: Float[Tensor, " cols"]

    @property
    def covariance(self) -> Float[Tensor, "cols cols"]:
        """Return E[x x^T] - E[x] E[x]^T, the Hessian if the bias corrects the mean error."""
        return self.second_moment - torch.outer(self.mean, self.mean)


def collect_input_stats(
    linears: Mapping[str, nn.Module], passes: Iterable[object]
) -> dict[str, InputStats]:
    """Return the moments of each layer's inputs over forward passes, by layer name.

    Sums are float32 for any dtype of activations. Layers that read the same tensor in the first
    pass share an input, which is summed once.

    Args:
        linears: layers by name.
        passes: an iterator that runs a forward pass through all layers for each item.

    Raises:
        RadioError: an input is NaN or infinite.
    """
    sums: dict[str, _Sums] = {}
    reads: dict[str, str] = {}
    seen: dict[str, Tensor] = {}

    def add(name: str, inputs: Tensor) -> None:
        if name not in reads:
            same = (other for other, tensor in seen.items() if tensor is inputs)
            reads[name] = next(same, name)
            seen[name] = inputs
        if reads[name] == name:
            sums.setdefault(name, _Sums(inputs)).add(inputs)

    handles = [
        linear.register_forward_pre_hook(lambda _, args, name=name: add(name, args[0]))
        for name, linear in linears.items()
    ]
    try:
        for _ in passes:
            seen.clear()
    finally:
        for handle in handles:
            handle.remove()
    moments = {name: each.moments(name) for name, each in sums.items()}
    return {name: moments[reads[name]] for name in linears}


class _Sums:
    """Running sums of x, |x| and x x^T, on the device and with the width of `inputs`."""

    def __init__(self, inputs: Tensor) -> None:
        cols, device = inputs.shape[-1], inputs.device
        self.first, self.absolute = (torch.zeros(cols, device=device) for _ in range(2))
        self.second = torch.zeros(cols, cols, device=device)
        self.tokens = 0

    def add(self, inputs: Tensor) -> None:
        rows = inputs.detach().flatten(0, -2).float()
        self.first += rows.sum(dim=0)
        self.absolute += rows.abs().sum(dim=0)
        self.second.addmm_(rows.T, rows)
        self.tokens += len(rows)

    def moments(self, name: str) -> InputStats:
        if not torch.isfinite(self.second).all():
            raise RadioError(
                f"inputs of {name} are not finite: set method.inputs.dtype=float32, or quantize "
                "at a higher rate_bits"
            )
        return InputStats(
            mean=self.first / self.tokens,
            second_moment=self.second / self.tokens,
            tokens=self.tokens,
            mean_abs=self.absolute / self.tokens,
        )
