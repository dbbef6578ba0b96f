"""AWQ: scale inputs by their magnitude, clip weights, and round to nearest.

Lin et al., AWQ: Activation-aware Weight Quantization (MLSys 2024), as in github.com/mit-han-lab/
llm-awq: grid search of exponent and clipping by the output error, without clipping of queries and
keys. Output errors are computed from second moments of inputs, hence exact over all calibration
tokens; the authors clip on 512 tokens. Three other differences: inputs come from blocks already
quantized; a tensor read by several layers is scaled for the sum of their errors, while the authors
evaluate the output of the attention or MLP; and levels are those of `Rtn`, whose range always
contains 0.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated

import torch
from jaxtyping import Float
from torch import Tensor, nn

from radio.models import scaling_groups as scaling_groups
from radio.pack.codecs import QuantizedLinear
from radio.quantize.input_stats import InputStats
from radio.quantize.methods.affine import check_depth
from radio.quantize.methods.base import LinearLayer
from radio.quantize.methods.rtn import Rtn
from radio.runtime.check import check_fields
from radio.runtime.kinds import Count, at_least

# ranges shrink in steps of 5%
SHRINKAGE = 0.05
# minimum magnitude before scales are normalised
FLOOR = 1e-4
# queries and keys are multiplied, so the error of either output does not measure clipping
UNCLIPPED = ("q_proj", "k_proj")


@dataclass(frozen=True)
class Awq:
    """Round to nearest in groups of inputs, after scaling inputs to reduce the error.

    Attributes:
        group_cols: inputs that share a range; None for a whole row.
        exponents: number n of scales E|x|^a tried, a = 0, 1/n, ..., (n - 1)/n; 1 disables scaling.
        ranges: number of ranges tried for each group: the full range and ranges shrunk by 5%, 10%,
            ...; 1 disables clipping.
    """

    group_cols: Count | None = 128
    exponents: Count = 20
    ranges: Annotated[int, at_least(1, 20)] = 10  # a 21st would have width 0

    def __post_init__(self) -> None:
        check_fields(self, "method.quantizer")

    def check_rate(self, rate_bits: float) -> None:
        """Raise a `RadioError` unless `rate_bits` is one of 1..8."""
        check_depth(rate_bits, "awq")

    def solve_for_bits(self, bpw: float, shapes: Sequence[tuple[int, int]]) -> tuple["Awq", float]:
        """Return this method with the group size of `Rtn` at `bpw`; both share a format."""
        rtn, rate_bits = Rtn(self.group_cols).solve_for_bits(bpw, shapes)
        return replace(self, group_cols=rtn.group_cols), rate_bits

    def reparametrize(
        self, block: nn.Module, inputs: Mapping[str, InputStats], rate_bits: float
    ) -> None:
        """Scale the inputs of every scaling group, each with its own exponent."""
        for scaling_group in scaling_groups(block):
            weight = torch.cat(
                [reader.weight.detach() for reader in scaling_group.readers.values()]
            )
            scaling_group.divide(
                self.scale(weight, inputs[next(iter(scaling_group.readers))], rate_bits)
            )

    def scale(
        self, weight: Float[Tensor, "rows cols"], inputs: InputStats, rate_bits: float
    ) -> Float[Tensor, " cols"]:
        """Return the divisors s of the inputs with least E|Q(W s) x/s - W x|^2 over exponents."""

        def error(scale: Tensor) -> float:
            rounded = self._rounded(weight * scale, rate_bits) / scale
            return float(output_errors(rounded - weight, inputs.second_moment).sum())

        exponents = (step / self.exponents for step in range(self.exponents))
        return min((_normalised(inputs.mean_abs**exponent) for exponent in exponents), key=error)

    def quantize(self, layer: LinearLayer, rate_bits: float) -> QuantizedLinear:
        """Round clipped weights to the nearest of 2^rate_bits levels."""
        assert layer.inputs is not None
        weight = layer.weight
        if layer.name.rpartition(".")[2] not in UNCLIPPED:
            weight = self.clipped(weight, layer.inputs.second_moment, rate_bits)
        return Rtn(self.group_cols).quantize(replace(layer, weight=weight), rate_bits)

    def clipped(
        self,
        weight: Float[Tensor, "rows cols"],
        moment: Float[Tensor, "cols cols"],
        rate_bits: float,
    ) -> Float[Tensor, "rows cols"]:
        """Return weights clipped for the least error of each group's part of the output."""
        cols = torch.arange(weight.shape[1]).split(self.group_cols or weight.shape[1])
        runs = (self._clipped_run(weight[:, run], moment[run][:, run], rate_bits) for run in cols)
        return torch.cat(list(runs), dim=1)

    def _clipped_run(self, run: Tensor, moment: Tensor, rate_bits: float) -> Tensor:
        """Return one clipped group of every row."""
        largest = run.abs().amax(dim=1, keepdim=True)
        ranges = [largest * (1 - SHRINKAGE * step) for step in range(self.ranges)]
        tried = torch.stack([run.clamp(-end, end) for end in ranges])
        errors = [output_errors(self._rounded(each, rate_bits) - run, moment) for each in tried]
        return tried[torch.stack(errors).argmin(dim=0), torch.arange(len(run))]

    def _rounded(self, weight: Tensor, rate_bits: float) -> Tensor:
        """Return weights after quantization and decoding."""
        return Rtn(self.group_cols).quantize(LinearLayer("", weight), rate_bits).weight.decode()


def output_errors(
    error: Float[Tensor, "rows cols"], second_moment: Float[Tensor, "cols cols"]
) -> Float[Tensor, " rows"]:
    """Return the mean squared error of each output, E (dw x)^2 = dw E[x x^T] dw^T."""
    return (error @ second_moment * error).sum(dim=1)


def _normalised(magnitude: Tensor) -> Tensor:
    """Return scales normalised so that the largest is the reciprocal of the smallest."""
    scale = magnitude.clamp(min=FLOOR)
    return scale / (scale.max() * scale.min()).sqrt()
