"""Moments of what goes into linear layers."""

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
        second_moment: E[x x^T], GPTQ's Hessian but for a factor.
        tokens: how many x there were.
        mean_abs: E|x|, each channel's magnitude, which a few massive tokens sway less than the
            second moment.
    """

    mean: Float[Tensor, " cols"]
    second_moment: Float[Tensor, "cols cols"]
    tokens: int
    mean_abs: Float[Tensor, " cols"]

    @property
    def covariance(self) -> Float[Tensor, "cols cols"]:
        """E[x x^T] - E[x] E[x]^T: the Hessian where the bias makes up for the mean error."""
        return self.second_moment - torch.outer(self.mean, self.mean)


def collect_input_stats(
    linears: Mapping[str, nn.Module], passes: Iterable[object]
) -> dict[str, InputStats]:
    """Moments of each layer's inputs over forward passes, by the layer's name.

    Sums are float32 whatever the dtype of the activations. Layers are known to share an input by
    its being the same tensor in the first pass, and it is then summed once.

    Args:
        linears: layers by name.
        passes: an iterator that makes a forward pass through all of them as each item is drawn.

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
    """Running sums of x, |x| and x x^T, where inputs like `inputs` are."""

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
