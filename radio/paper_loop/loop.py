"""The paper's iterative algorithm: measure at the quantized weights, allocate, quantize, repeat.

Quantization depends on gradients and input means, and changes them. The loop therefore measures
them at the current quantized weights with corrected biases, and after each minibatch it clusters
rows, solves for depths, quantizes and corrects biases again. The result is the statistics of the
best iteration on the validation text; `radio allocate` and `radio quantize` read them like those of
one-shot calibration.
"""

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, NamedTuple

import torch
from jaxtyping import Int
from torch import Tensor
from transformers import PreTrainedModel

from radio.allocate.depths import Depths
from radio.allocate.layers import allocate_layers
from radio.calibrate.random_sign import OUTPUTS, accumulating
from radio.calibrate.statistics import LayerStatistics
from radio.data.tokens import sample_sequences, sha256_of_ids
from radio.evaluate.perplexity import evaluate
from radio.evaluate.reference import Reference, compute_reference
from radio.models import head, place
from radio.paper_loop.gradients import PcaTokens, RandomSigns, Sampler, output_axes
from radio.paper_loop.requantized_model import RequantizedModel
from radio.paper_loop.state import State
from radio.quantize.methods.base import Method
from radio.runtime.check import check_fields
from radio.runtime.device import ON_CPU, Devices
from radio.runtime.errors import RadioError
from radio.runtime.kinds import Count, Dtype, GroupRows, Solver, above, at_least, one_of
from radio.runtime.progress import progress
from radio.runtime.state import SAVE_EVERY_S, StateStore

GRADIENTS = ("pca", *OUTPUTS)


class Refined(NamedTuple):
    """Statistics of the best iteration, its number from 1, and one trace entry per iteration.

    `perplexity_fp16` is the original model's perplexity on the validation text.

    An entry has `iteration`, `sequences` (seen so far), `rate_bits` (reached), `kl` and
    `perplexity` on the validation text (None without validation), and, against the previous
    iteration, the fraction of weights whose depth changed (`changed_share`) and the mean absolute
    change (`depth_change_bits`). Both are None in the first iteration, and are per weight because
    each clustering makes new groups.
    """

    statistics: dict[str, LayerStatistics]
    best_iteration: int
    trace: list[dict[str, Any]]
    perplexity_fp16: float


class Validation(NamedTuple):
    """The text that selects the best iteration, and the original model's outputs on it."""

    blocks: Int[Tensor, "blocks length"]
    reference: Reference


@dataclass(frozen=True)
class Refinement:
    """Settings of the loop; the paper's values are in config/refinement/paper.yaml.

    Attributes:
        group_rows: target number of rows per cluster.
        sequences: number of distinct calibration sequences, repeated in a fixed order.
        batch: sequences per minibatch; the model is quantized again after each minibatch.
        iterations: number of minibatches.
        gradients: "pca" (paper), or one random-sign backward pass per sequence with a distortion
            measure of `RandomSign`: "hidden" or "kl".
        tokens: number of tokens per sequence that are back-propagated ("pca").
        pca_width: number of axes, at most the model's width ("pca").
        decay: factor of all sums after each minibatch. The paper uses an exponential average and
            does not state its constant: 0.9 is our choice. 1 gives a plain mean.
        follow_author_code: follow the author's code where it differs from the paper: plain running
            means instead of `decay`, uncentred and unsorted PCA, weight variances about the median.
        validate_every: iterations between validations; the last iteration is always validated.
        dtype: dtype of weights and activations, also in validation; statistics are always float32.
        solver: solver of the depths, see `allocate_layers`.
        draft: quantizer of the weights at which gradients are measured.
        final: quantizer of the weights that are validated.
    """

    group_rows: GroupRows
    sequences: Count
    batch: Count
    iterations: Count
    gradients: Annotated[str, one_of("pca", "hidden", "kl")]
    tokens: Annotated[int, at_least(2)]
    pca_width: Count
    decay: Annotated[float, above(0, 1)]
    follow_author_code: bool
    validate_every: Count
    dtype: Dtype
    solver: Solver
    draft: Method
    final: Method

    def __post_init__(self) -> None:
        check_fields(self, "refinement.estimator")

    def run(
        self,
        model: PreTrainedModel,
        blocks: Int[Tensor, "blocks length"],
        validation: Int[Tensor, "validation_blocks validation_length"],
        rate_bits: float,
        seed: int,
        store: StateStore,
        devices: Devices = ON_CPU,
    ) -> Refined:
        """Refine at one rate, and return the best statistics and the trace.

        `model` starts on the CPU; afterwards it is cast to `dtype`, quantized, and on `devices`.
        The state is saved to `store` every half minute and loaded after a kill. It determines the
        rest of the run, so a resumed run gives the same bytes. The caller removes it once it has
        saved the result.

        Raises:
            RadioError: there are fewer blocks than `sequences`, no validation blocks, or fewer
                tokens in a block than `tokens`; the rate is invalid; or values are not finite.
        """
        self._check(blocks, validation, rate_bits)
        blocks = sample_sequences(blocks, self.sequences, seed)
        live = RequantizedModel.of(model)
        place(model, devices, getattr(torch, self.dtype))
        reference = compute_reference(model, validation, sha256_of_ids(validation))
        state = State.resumed(store)
        if state is None:
            state = State.fresh(self._axes(model, blocks), live.weights)
        if state.current:
            depths, _ = allocate_layers(state.current, rate_bits, self.solver)
            live.install(self.draft, state.current, depths, rate_bits)
        self._iterate(
            state, live, blocks, Validation(validation, reference), rate_bits, seed, store
        )
        if not state.best:
            raise RadioError(
                f"the divergence on the validation text is never finite at rate_bits={rate_bits}: "
                f"raise the rate or set {_key('dtype')}=float32"
            )
        best = _best(state.trace)["iteration"]
        return Refined(state.best, best, state.trace, float(reference.nll.double().mean().exp()))

    def _check(self, blocks: Tensor, validation: Tensor, rate_bits: float) -> None:
        self.final.check_rate(rate_bits)
        if len(blocks) < self.sequences:
            raise RadioError(
                f"{_key('sequences')}={self.sequences} exceeds the {len(blocks)} blocks of the "
                "calibration text: lower it or give more text"
            )
        if len(validation) == 0:
            raise RadioError(
                "the validation text has 0 blocks and chooses the iteration: "
                "set data.blocks.validation to 1 or more"
            )
        if self.gradients == "pca" and not 2 <= self.tokens <= blocks.shape[1]:
            raise RadioError(
                f"{_key('tokens')}={self.tokens} cannot be spread over a block: "
                f"set 2 to {blocks.shape[1]}, its length"
            )

    def _axes(self, model: PreTrainedModel, blocks: Tensor) -> Tensor:
        if self.gradients != "pca":
            return torch.zeros(0, head(model).in_features)
        return output_axes(model, blocks, self.pca_width, self.follow_author_code)

    def _iterate(
        self,
        state: State,
        live: RequantizedModel,
        blocks: Int[Tensor, "blocks length"],
        validation: Validation,
        rate_bits: float,
        seed: int,
        store: StateStore,
    ) -> None:
        """Run the loop from `state` to the end of the last iteration."""
        length = blocks.shape[1]
        pca = self.gradients == "pca"
        sampler = (
            PcaTokens(state.axes, self.tokens) if pca else RandomSigns(self.gradients, seed, length)
        )
        saver = _Saver(state, store)
        for iteration in range(len(state.trace), self.iterations):
            minibatch = range(state.sequences, (iteration + 1) * self.batch)
            # validation runs outside the hooks, which must not see its inputs
            with accumulating(live.model, state):
                for index in progress(minibatch, f"refine {iteration + 1}/{self.iterations}"):
                    block = index % len(blocks)
                    sampler.backward(live.model, blocks[block : block + 1], index)
                    state.count_sequence()
                    saver.save_if_due()
            self._requantize(state, live, validation, rate_bits, sampler, length)
            saver.save_if_due()

    def _requantize(
        self,
        state: State,
        live: RequantizedModel,
        validation: Validation,
        rate_bits: float,
        sampler: Sampler,
        length: int,
    ) -> None:
        """End an iteration: update clusters, depths, weights and biases; append to the trace."""
        statistics = state.statistics(
            live.weights, self.group_rows, length, sampler.per_token, self.follow_author_code
        )
        depths, allocation = allocate_layers(statistics, rate_bits, self.solver)
        iteration = len(state.trace) + 1
        entry = {
            "iteration": iteration,
            "sequences": state.sequences,
            "rate_bits": allocation.rate_bits,
            "kl": None,
            "perplexity": None,
            **_movement(state.current, statistics, depths, rate_bits, self.solver),
        }
        last = iteration == self.iterations
        if last or iteration % self.validate_every == 0:
            live.install(self.final, statistics, depths, rate_bits)
            entry |= _validate(live.model, validation)
        state.trace.append(entry)
        if _best(state.trace) is entry:
            state.best = statistics
        if not last:
            live.install(self.draft, statistics, depths, rate_bits)
        state.current = statistics
        state.fade(1.0 if self.follow_author_code else self.decay)


@dataclass
class _Saver:
    """Saves the state every `SAVE_EVERY_S` seconds."""

    state: State
    store: StateStore
    saved_at: float = 0.0

    def __post_init__(self) -> None:
        self.saved_at = time.monotonic()

    def save_if_due(self) -> None:
        if time.monotonic() - self.saved_at > SAVE_EVERY_S:
            self.state.save(self.store)
            self.saved_at = time.monotonic()


def _key(name: str) -> str:
    """Return the full command-line name of a setting."""
    return f"refinement.estimator.{name}"


def _best(trace: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the first entry of least finite divergence; an empty dict if there is none."""
    asked = [entry for entry in trace if entry["kl"] is not None and math.isfinite(entry["kl"])]
    return min(asked, key=lambda entry: entry["kl"]) if asked else {}


def _validate(model: PreTrainedModel, validation: Validation) -> dict[str, float]:
    # the head is never quantized, so the model's head equals the reference head
    result = evaluate(model, validation.blocks, validation.reference, head(model))
    return {
        "kl": float(result.kl.double().mean()),
        "perplexity": float(result.nll.double().mean().exp()),
    }


def _movement(
    before: Mapping[str, LayerStatistics],
    after: Mapping[str, LayerStatistics],
    depths: Depths,
    rate_bits: float,
    solver: str,
) -> dict[str, float | None]:
    """Return the fraction of weights whose depth changed, and the mean absolute change."""
    if not before:
        return {"changed_share": None, "depth_change_bits": None}
    old_depths, _ = allocate_layers(before, rate_bits, solver)
    weights = changed = bits = 0
    for name, entry in after.items():
        new = depths[name][entry.cluster].to(torch.int16)
        change = (new - old_depths[name][before[name].cluster]).abs()
        weights += change.numel()
        changed += int((change > 0).sum())
        bits += int(change.sum(dtype=torch.int64))
    return {"changed_share": changed / weights, "depth_change_bits": bits / weights}
