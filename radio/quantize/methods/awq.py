"""AWQ: round to nearest after inputs were scaled by their magnitude, and weights clipped.

Lin et al., AWQ: Activation-aware Weight Quantization (MLSys 2024), as in github.com/mit-han-lab/
llm-awq: exponent and clipping by grid search for the error of outputs, queries and keys unclipped.
Errors of outputs are taken from second moments of inputs, hence exact over all calibration tokens;
the authors clip on 512 of them. Three things differ: inputs come from blocks already quantized;
tensors that several layers read are scaled for the sum of these layers' errors, where the authors
run attention or MLP to its end; and the levels are those of `Rtn`, whose range always contains 0.
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

# a range is shrunk in steps of a twentieth
SHRINKAGE = 0.05
# least magnitude before scales are normalised
FLOOR = 1e-4
# their errors meet in a product, so that neither output's tells what clipping costs
UNCLIPPED = ("q_proj", "k_proj")


@dataclass(frozen=True)
class Awq:
    """Round to nearest in groups of inputs, of a block that was rewritten to lose less by it.

    Attributes:
        group_cols: inputs that share a range; None for a whole row.
        exponents: scales E|x|^a tried, a = 0, 1/n, ..., (n - 1)/n; 1 leaves inputs unscaled.
        ranges: ranges tried for each group, the whole one and those shrunk by 5%, 10%, ...; 1
            leaves weights unclipped.
    """

    group_cols: Count | None = 128
    exponents: Count = 20
    ranges: Annotated[int, at_least(1, 20)] = 10  # a 21st would have no width left

    def __post_init__(self) -> None:
        check_fields(self, "method.quantizer")

    def check_rate(self, rate_bits: float) -> None:
        """Raise a `RadioError` unless `rate_bits` is one of 1..8."""
        check_depth(rate_bits, "awq")

    def solve_for_bits(self, bpw: float, shapes: Sequence[tuple[int, int]]) -> tuple["Awq", float]:
        """This method with the groups that round to nearest would have, whose format it shares."""
        rtn, rate_bits = Rtn(self.group_cols).solve_for_bits(bpw, shapes)
        return replace(self, group_cols=rtn.group_cols), rate_bits

    def reparametrize(
        self, block: nn.Module, inputs: Mapping[str, InputStats], rate_bits: float
    ) -> None:
        """Scale all that `scaling_groups` allows, each tensor by its own exponent."""
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
        """What inputs are best divided by: least E|Q(W s) x/s - W x|^2 over the exponents."""

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
        """Weights, each group cut off where the error of its own share of the output is least."""
        cols = torch.arange(weight.shape[1]).split(self.group_cols or weight.shape[1])
        runs = (self._clipped_run(weight[:, run], moment[run][:, run], rate_bits) for run in cols)
        return torch.cat(list(runs), dim=1)

    def _clipped_run(self, run: Tensor, moment: Tensor, rate_bits: float) -> Tensor:
        """One group of every row."""
        largest = run.abs().amax(dim=1, keepdim=True)
        ranges = [largest * (1 - SHRINKAGE * step) for step in range(self.ranges)]
        tried = torch.stack([run.clamp(-end, end) for end in ranges])
        errors = [output_errors(self._rounded(each, rate_bits) - run, moment) for each in tried]
        return tried[torch.stack(errors).argmin(dim=0), torch.arange(len(run))]

    def _rounded(self, weight: Tensor, rate_bits: float) -> Tensor:
        """Weights as the decoder will have them."""
        return Rtn(self.group_cols).quantize(LinearLayer("", weight), rate_bits).weight.decode()


def output_errors(
    error: Float[Tensor, "rows cols"], second_moment: Float[Tensor, "cols cols"]
) -> Float[Tensor, " rows"]:
    """Mean squared error of each output, E (dw x)^2 = dw E[x x^T] dw^T."""
    return (error @ second_moment * error).sum(dim=1)


def _normalised(magnitude: Tensor) -> Tensor:
    """Scales whose largest and smallest are reciprocal."""
    scale = magnitude.clamp(min=FLOOR)
    return scale / (scale.max() * scale.min()).sqrt()
