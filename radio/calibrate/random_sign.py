"""Sensitivity of the output to each weight group: gradient variances and input means.

The paper back-propagates one PCA coefficient of one token at a time. Here, one backward pass per
sequence suffices: for random signs e_k = +-1, the gradient of sum_k e_k z_k over all output
coordinates z_k has the square (sum_k e_k dz_k/dw)^2. Its expectation is sum_k (dz_k/dw)^2, because
the cross terms vanish. The squared gradient is thus an unbiased estimate of the sum over all tokens
and coordinates.

The same holds for any quadratic measure of the output's change that is the square of a linear map.
The KL divergence of next-token distributions is, to second order, 1/2 dl^T (diag p - p p^T) dl in
the logits l, and diag p - p p^T = S S^T for S = diag(sqrt p) - p sqrt(p)^T.
"""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers import PreTrainedModel

from radio.calibrate.statistics import LayerStatistics
from radio.data.tokens import sample_sequences
from radio.models import BlockwiseBackward, decoder_linears, final_hidden, head, place
from radio.resources.memory_estimate import largest_batch
from radio.runtime.check import check_fields
from radio.runtime.device import ON_CPU, Devices
from radio.runtime.errors import RadioError
from radio.runtime.kinds import Count, Dtype, GroupRows, one_of
from radio.runtime.progress import progress_bar
from radio.runtime.state import SAVE_EVERY_S, StateStore
from radio.theory.grouping import cluster_mean, cluster_rows, locations_and_scales

OUTPUTS = ("hidden", "kl")
TOKENS_AT_ONCE = 16


@runtime_checkable
class Estimator(Protocol):
    """Estimator of statistics; the attributes are those of `RandomSign`."""

    group_rows: int
    sequences: int
    pilot_sequences: int
    dtype: str
    distortion_measure: str

    def run(
        self,
        model: PreTrainedModel | BlockwiseBackward,
        blocks: Int[Tensor, "blocks length"],
        seed: int,
        state: StateStore,
        devices: Devices = ON_CPU,
    ) -> dict[str, LayerStatistics]:
        """Return statistics of every linear layer in the decoder, on the CPU."""
        ...


@dataclass(frozen=True)
class RandomSign:
    """Estimate gradient variances by one random-sign backward pass per sequence.

    Attributes:
        group_rows: target number of rows per cluster.
        sequences: total number of calibration sequences, sampled from the text with the seed.
        pilot_sequences: number of initial sequences that only measure each row's gradient variance,
            by which rows are clustered; gradients of later sequences are reduced by cluster.
        dtype: dtype of weights and activations; statistics are always float32.
        distortion_measure: output distortion: squared error of the final "hidden" states (paper),
            or twice the "kl" divergence of next-token distributions to second order.
    """

    group_rows: GroupRows
    sequences: Count
    pilot_sequences: Count
    dtype: Dtype
    distortion_measure: Annotated[str, one_of("hidden", "kl")]

    def __post_init__(self) -> None:
        check_fields(self, "calibration.estimator")
        largest_batch(self.sequences, self.pilot_sequences)

    def run(
        self,
        model: PreTrainedModel | BlockwiseBackward,
        blocks: Int[Tensor, "blocks length"],
        seed: int,
        state: StateStore,
        devices: Devices = ON_CPU,
    ) -> dict[str, LayerStatistics]:
        """Return statistics of every linear layer in the decoder, on the CPU.

        A model in memory starts on the CPU, is cast to `dtype` and moved to `devices`; a streamed
        model computes on its own device. Both give the same bytes. G_n^2 is summed over output
        coordinates and averaged over tokens.

        The sums are saved to `state` every half minute (for a streamed model, at the next end of a
        batch), and loaded after a kill. Signs depend only on the seed and the sequence, so a
        resumed run gives the same bytes, in memory or streamed. The caller removes `state` once it
        has saved the result.

        Raises:
            RadioError: there are fewer blocks than `sequences`, or gradients are not finite.
        """
        if len(blocks) < self.sequences:
            raise RadioError(
                f"calibration.estimator.sequences={self.sequences} exceeds the "
                f"{len(blocks)} blocks of the calibration text: lower it or give more text"
            )
        blocks = sample_sequences(blocks, self.sequences, seed)
        gradients = (
            _ByBlocks(model)
            if isinstance(model, BlockwiseBackward)
            else _Whole(model, self.dtype, devices)
        )
        weights = gradients.weights
        sums = _Sums.resumed(state) or _Sums.zeros(gradients.shapes)
        saved_at = time.monotonic()
        with progress_bar("calibrate", self.sequences, sums.done) as bar:
            while sums.done < self.sequences:
                first = sums.done
                if first == self.pilot_sequences:
                    sums.set_clusters(weights, self.group_rows)
                last = min(first + gradients.at_once, self._end_of_phase(first))
                gradients.add(sums, blocks[first:last], self.distortion_measure, seed)
                sums.done = last
                bar.update(last - first)
                if time.monotonic() - saved_at > SAVE_EVERY_S:
                    sums.save(state)
                    saved_at = time.monotonic()
        return sums.statistics(weights, self.pilot_sequences, blocks.shape[1])

    def _end_of_phase(self, first: int) -> int:
        """Return the number of sequences at the end of the pilot or of the run."""
        return self.pilot_sequences if first < self.pilot_sequences else self.sequences


class _Whole:
    """Gradients of a model in memory, one sequence at a time."""

    at_once = 1

    def __init__(self, model: PreTrainedModel, dtype: str, devices: Devices) -> None:
        linears = decoder_linears(model)
        self.weights: Mapping[str, Tensor] = {
            name: linear.weight.detach().float() for name, linear in linears.items()
        }
        self.shapes = _shapes(linears)
        self._model = place(model, devices, getattr(torch, dtype))

    def add(self, sums: "_Sums", ids: Tensor, distortion_measure: str, seed: int) -> None:
        with accumulating(self._model, sums):
            backward_random_signs(self._model, ids, distortion_measure, seed, sums.done)


class _ByBlocks:
    """Gradients of a streamed model, one batch of sequences at a time."""

    def __init__(self, recomputing: BlockwiseBackward) -> None:
        self.weights = recomputing.streamed.weights
        self.shapes = _shapes(decoder_linears(recomputing.streamed.model))
        self.at_once = recomputing.sequences
        self._recomputing = recomputing

    def add(self, sums: "_Sums", ids: Tensor, distortion_measure: str, seed: int) -> None:
        model = self._recomputing.streamed.model

        def from_output(index: int) -> None:
            one = ids[index : index + 1]
            backward_random_signs(model, one, distortion_measure, seed, sums.done + index)

        self._recomputing.backward(ids, from_output, lambda linears: reducing(linears, sums))


def _shapes(linears: Mapping[str, nn.Linear]) -> dict[str, tuple[int, int]]:
    return {name: (each.out_features, each.in_features) for name, each in linears.items()}


def backward_random_signs(
    model: PreTrainedModel,
    ids: Int[Tensor, "batch length"],
    distortion_measure: str,
    seed: int,
    index: int,
) -> None:
    """Back-propagate a random-sign sum of the outputs of sequence `index` through `model`."""
    generator = torch.Generator().manual_seed(seed * 1_000_003 + index)
    hidden = final_hidden(model, ids)
    if distortion_measure == "hidden":
        signs = _signs(hidden.shape, generator)
        (hidden * signs.to(hidden)).sum().backward()
        return
    logits = head(model)(hidden)
    logits.backward(_signed_root(logits.detach(), generator))


def _signed_root(
    logits: Float[Tensor, "batch length vocabulary"], generator: torch.Generator
) -> Float[Tensor, "batch length vocabulary"]:
    """Return S e for random signs e and the root S of diag p - p p^T at each token.

    Tokens are processed in small batches, whose float32 tensors stay in the CPU cache.
    """
    direction = torch.empty_like(logits)
    for some, out in zip(
        *(each.split(TOKENS_AT_ONCE, 1) for each in (logits, direction)), strict=True
    ):
        root = some.float().softmax(dim=-1).sqrt()
        signed = root * _signs(root.shape, generator).to(root.device)
        out.copy_(signed - root.square() * signed.sum(dim=-1, keepdim=True))
    return direction


def _signs(shape: torch.Size, generator: torch.Generator) -> Tensor:
    """Return independent random signs, -1 or +1."""
    return torch.randint(0, 2, shape, generator=generator, dtype=torch.int8) * 2 - 1


SUMS = ("input_sum", "row_grad", "cluster", "group_grad")


@dataclass
class _Sums:
    """Running sums over sequences, by layer name."""

    done: int
    input_sum: dict[str, Tensor]
    row_grad: dict[str, Tensor]
    cluster: dict[str, Tensor]
    group_grad: dict[str, Tensor]

    @classmethod
    def zeros(cls, shapes: Mapping[str, tuple[int, int]]) -> "_Sums":
        inputs = {name: torch.zeros(cols) for name, (_, cols) in shapes.items()}
        rows = {name: torch.zeros(rows) for name, (rows, _) in shapes.items()}
        return cls(0, inputs, rows, {}, {})

    def set_clusters(self, weights: Mapping[str, Tensor], group_rows: int) -> None:
        """Cluster rows by the pilot's gradient variances and initialise the sums by group."""
        for name, weight in weights.items():
            row_var, row_grad = weight.var(dim=1, correction=0), self.row_grad[name].cpu()
            self.cluster[name] = cluster_rows(row_var, row_grad, group_rows)
            clusters = int(self.cluster[name].max()) + 1
            self.group_grad[name] = torch.zeros(clusters, weight.shape[1])

    def add_gradient(self, name: str, gradient: Tensor) -> None:
        square = gradient.float().square()
        if self.cluster:
            cluster = self.cluster[name].to(square.device)
            add(self.group_grad, name, cluster_mean(square, cluster, len(self.group_grad[name])))
        else:
            add(self.row_grad, name, square.mean(dim=1))

    def statistics(
        self, weights: Mapping[str, Tensor], pilot: int, length: int
    ) -> dict[str, LayerStatistics]:
        result = {}
        for name, weight in weights.items():
            cluster, grad = self.cluster[name], self.group_grad[name].cpu()
            if not torch.isfinite(grad).all():
                raise RadioError(
                    f"gradients of {name} are not finite: set calibration.estimator.dtype=float32"
                )
            _, scales = locations_and_scales(weight, cluster, len(grad))
            result[name] = LayerStatistics(
                cluster=cluster,
                grad_var=grad / ((self.done - pilot) * length),
                weight_var=scales.square(),
                input_mean=self.input_sum[name].cpu() / (self.done * length),
            )
        return result

    def save(self, state: StateStore) -> None:
        tensors = {f"{kind}/{n}": t for kind in SUMS for n, t in getattr(self, kind).items()}
        state.save(tensors, {"done": self.done})

    @classmethod
    def resumed(cls, state: StateStore) -> "_Sums | None":
        """Return the sums in `state`, or None if there are none."""
        kept = state.load()
        if kept is None:
            return None
        tensors, content = kept
        kinds: dict[str, dict[str, Tensor]] = {kind: {} for kind in SUMS}
        for key, tensor in tensors.items():
            kind, name = key.split("/", 1)
            kinds[kind][name] = tensor
        return cls(content["done"], **kinds)


def add(sums: dict[str, Tensor], name: str, value: Tensor) -> None:
    """Add `value` to a sum on its device; new or loaded sums are moved there."""
    sums[name] = sums[name].to(value.device).add_(value)


@runtime_checkable
class Accumulator(Protocol):
    """Target of `accumulating`: sums of inputs [cols] by layer name, and a reduction of gradients.

    `add_gradient(name, gradient)` receives the gradient [rows, cols] of every backward pass.
    """

    input_sum: dict[str, Tensor]

    def add_gradient(self, name: str, gradient: Tensor) -> None:
        """Accumulate the gradient of a layer's weight, which is freed afterwards."""
        ...


@contextmanager
def accumulating(model: PreTrainedModel, sums: Accumulator) -> Iterator[None]:
    """Apply `reducing` to all linear layers of a decoder; no other parameter gets a gradient."""
    model.requires_grad_(False)
    with reducing(decoder_linears(model), sums):
        yield


@contextmanager
def reducing(linears: Mapping[str, nn.Linear], sums: Accumulator) -> Iterator[None]:
    """Reduce each layer's inputs and weight gradient into `sums` as soon as they are computed.

    The gradient is reduced and freed inside the backward pass, so that at most one full-size
    gradient is in memory at a time.
    """
    handles = []
    for name, linear in linears.items():

        def keep_inputs(module: nn.Module, args: tuple[Tensor, ...], name: str = name) -> None:
            inputs = args[0].detach().flatten(0, -2)
            add(sums.input_sum, name, inputs.float().sum(dim=0))

        def keep_gradient(weight: Tensor, name: str = name) -> None:
            assert weight.grad is not None
            sums.add_gradient(name, weight.grad)
            weight.grad = None

        linear.weight.requires_grad_(True)
        handles.append(linear.register_forward_pre_hook(keep_inputs))
        handles.append(linear.weight.register_post_accumulate_grad_hook(keep_gradient))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
        for linear in linears.values():
            linear.weight.requires_grad_(False)
