"""State of the loop, saved so that a killed run can resume."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from radio.calibrate.statistics import LayerStatistics, statistics_of, tensors_of
from radio.runtime.device import CPU, to_device
from radio.runtime.errors import RadioError
from radio.runtime.state import StateStore
from radio.theory.grouping import (
    cluster_mean,
    cluster_rows,
    locations_and_scales,
    means_and_deviations,
)

SUMS = ("grad_sum", "input_sum")
STATISTICS = ("current", "best")


@dataclass
class State:
    """The state of the loop between two sequences.

    Squared gradients are stored per weight, in float32: rows move between clusters, and only sums
    per weight give every clustering its correct mean (the author's code stores a mean per group,
    although the group's rows change).

    Attributes:
        axes: PCA axes of the original model's outputs; empty without PCA.
        sequences: number of sequences seen.
        weight: total weight of these sequences in the sums; below `sequences` if the sums decay.
        grad_sum: weighted sum over sequences of squared gradients, by layer.
        input_sum: weighted sum over sequences and tokens of the inputs, by layer.
        current: statistics of the current quantized weights; empty at first.
        best: statistics of the iteration of least validation divergence so far.
        trace: one entry per completed iteration.
    """

    axes: Float[Tensor, "axes width"]
    sequences: int
    weight: float
    grad_sum: dict[str, Tensor]
    input_sum: dict[str, Tensor]
    current: dict[str, LayerStatistics] = field(default_factory=dict)
    best: dict[str, LayerStatistics] = field(default_factory=dict)
    trace: list[dict[str, Any]] = field(default_factory=list)

    @classmethod
    def fresh(cls, axes: Float[Tensor, "axes width"], weights: Mapping[str, Tensor]) -> "State":
        """Return the state before the first sequence."""
        grads = {name: torch.zeros_like(weight) for name, weight in weights.items()}
        inputs = {name: torch.zeros(weight.shape[1]) for name, weight in weights.items()}
        return cls(axes, 0, 0.0, grads, inputs)

    def add_gradient(self, name: str, gradient: Float[Tensor, "rows cols"]) -> None:
        """Add the squared gradient of one backward pass."""
        gradient = gradient.float()
        total = self.grad_sum[name].to(gradient.device)
        self.grad_sum[name] = total.addcmul_(gradient, gradient)

    def count_sequence(self) -> None:
        """Count a sequence whose gradients and inputs are complete."""
        self.sequences += 1
        self.weight += 1

    def fade(self, decay: float) -> None:
        """Multiply all sums and their weight by `decay`; 1 gives a plain running mean."""
        self.weight *= decay
        for sums in (self.grad_sum, self.input_sum):
            for total in sums.values():
                total *= decay

    def statistics(
        self,
        weights: Mapping[str, Float[Tensor, "rows cols"]],
        group_rows: int,
        length: int,
        per_token: float,
        follow_author_code: bool,
    ) -> dict[str, LayerStatistics]:
        """Cluster the rows again, and return the current means by group, on the CPU.

        Args:
            weights: the original weights, on the CPU.
            group_rows: target number of rows per cluster.
            length: tokens per sequence.
            per_token: factor from a sequence's squared gradients to `grad_var`.
            follow_author_code: compute weight variances about the median (author's code), not the
                mean (paper).

        Raises:
            RadioError: gradients are not finite.
        """
        result = {}
        for name, weight in weights.items():
            grad = self.grad_sum[name] * (per_token / self.weight)
            if not torch.isfinite(grad).all():
                raise RadioError(
                    f"gradients of {name} are not finite: set refinement.estimator.dtype=float32 "
                    "or a higher rate_bits"
                )
            weight = weight.to(grad.device)
            cluster = cluster_rows(weight.var(dim=1, correction=0), grad.mean(dim=1), group_rows)
            clusters = int(cluster.max()) + 1
            spread = locations_and_scales if follow_author_code else means_and_deviations
            weight_var = spread(weight, cluster, clusters)[1].square()
            of_layer = LayerStatistics(
                cluster=cluster,
                grad_var=cluster_mean(grad, cluster, clusters),
                weight_var=weight_var,
                input_mean=self.input_sum[name] / (self.weight * length),
            )
            result[name] = to_device(of_layer, CPU)
        return result

    def save(self, store: StateStore) -> None:
        """Write the state atomically; it takes as much disk as the float32 weights."""
        tensors = {"axes": self.axes}
        for kind in SUMS:
            tensors |= {f"{kind}/{name}": total for name, total in getattr(self, kind).items()}
        for kind in STATISTICS:
            # clones: current and best may share tensors, which a safetensors file cannot
            held = tensors_of(getattr(self, kind)).items()
            tensors |= {f"{kind}/{name}": tensor.clone() for name, tensor in held}
        layers = {kind: list(getattr(self, kind)) for kind in STATISTICS}
        # pairs keep the order of an entry's keys, which JSON objects in the file's header lose
        trace = [list(entry.items()) for entry in self.trace]
        numbers = {"sequences": self.sequences, "weight": self.weight}
        store.save(tensors, {**numbers, "trace": trace, "layers": layers})

    @classmethod
    def resumed(cls, store: StateStore) -> "State | None":
        """Return the state in `store`, or None if there is none."""
        kept = store.load()
        if kept is None:
            return None
        tensors, content = kept
        axes = tensors.pop("axes")
        kinds: dict[str, dict[str, Tensor]] = {kind: {} for kind in (*SUMS, *STATISTICS)}
        for key, tensor in tensors.items():
            kind, name = key.split("/", 1)
            kinds[kind][name] = tensor
        layers = content["layers"]
        return cls(
            axes=axes,
            sequences=content["sequences"],
            weight=content["weight"],
            grad_sum=kinds["grad_sum"],
            input_sum=kinds["input_sum"],
            current=statistics_of(kinds["current"], layers["current"]),
            best=statistics_of(kinds["best"], layers["best"]),
            trace=[dict(entry) for entry in content["trace"]],
        )
