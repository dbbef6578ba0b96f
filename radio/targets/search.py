"""Compress at one rate after another until the validation text says that the target is kept to."""

import logging
import math
from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import torch

from radio.allocate.depths import Depths
from radio.data.tokens import TokenSequences
from radio.evaluate.perplexity import evaluate
from radio.evaluate.reference import compute_reference
from radio.models import head, load_model, place
from radio.pack.file import assemble, install
from radio.quantize.blockwise import MethodInputs, quantize_layers
from radio.quantize.methods.base import Method
from radio.rate import Target
from radio.runtime.device import ON_CPU, Devices
from radio.runtime.state import StateStore
from radio.targets.least_rate import Probe, least_rate

log = logging.getLogger(__name__)


def search(
    checkpoint: Path,
    method: Method,
    solve: Callable[[float], Depths],
    given: MethodInputs,
    blocks: TokenSequences,
    target: Target,
    tolerance: float,
    state: StateStore,
    dtype: torch.dtype = torch.float32,
    devices: Devices = ON_CPU,
) -> tuple[Probe, list[Probe]]:
    """The least mean depth found at which `target` is kept to on `blocks`, and all probes.

    Statistics are reused; a probe costs an allocation, a quantization and an evaluation. Losses
    that were measured are kept in `state`, so that a killed search goes on where it was; the caller
    removes it.

    Args:
        checkpoint: directory of the original model.
        method: quantizes at the depths of `solve`.
        solve: depths of all groups at a mean depth.
        given: what the method needs beside depths.
        blocks: validation text; the reported text has no part in the choice.
        target: of kind "kl" (nats per token) or "perplexity_increase" (ratio).
        tolerance: relative distance below the target that is near enough.
        state: the losses measured so far.
        dtype: what models compute losses in.
        devices: where they do, and quantization on the first.

    Raises:
        RadioError: the target is out of reach.
    """
    original = load_model(checkpoint, dtype)
    reference_head = deepcopy(head(original))
    original = place(original, devices)
    reference = compute_reference(original, blocks.ids, blocks.sha256)
    del original  # from its devices
    kept = state.load()
    measured: dict[str, float] = {} if kept is None else kept[1]["losses"]

    def measure(rate_bits: float) -> float:
        if str(rate_bits) not in measured:
            model = load_model(checkpoint)
            probed = replace(given, depths=solve(rate_bits))
            layers = quantize_layers(model, method, rate_bits, probed, devices[0])
            coded = assemble(model, layers)
            if dtype != torch.float32:
                # not cast, which would round what no parameter is, such as the angles of positions
                model = load_model(checkpoint, dtype)
            model = place(install(model, coded), devices)
            summary = evaluate(model, blocks.ids, reference, reference_head).summary()
            ratio = summary["perplexity"] / summary["perplexity_fp16"] - 1
            measured[str(rate_bits)] = summary["kl"] if target.kind == "kl" else ratio
            finite = {rate: loss for rate, loss in measured.items() if math.isfinite(loss)}
            state.save({}, {"losses": finite})
        log.info("%.4f bits: %s %.5g", rate_bits, target.kind, measured[str(rate_bits)])
        return float(measured[str(rate_bits)])

    return least_rate(measure, target.amount, str(target), tolerance)
