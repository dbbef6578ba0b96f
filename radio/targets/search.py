"""Search for the rate that meets an accuracy target on the validation text."""

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
    """Return the lowest mean depth found that meets `target` on `blocks`, and all probes.

    Statistics are reused; a probe costs an allocation, a quantization and an evaluation. Measured
    losses are saved to `state`, so that a killed search resumes; the caller removes `state`.

    Args:
        checkpoint: directory of the original model.
        method: method that quantizes at the depths of `solve`.
        solve: function from mean depth to depths of all groups.
        given: inputs of the method, apart from depths.
        blocks: validation text; the test text does not affect the choice.
        target: target of kind "kl" (nats per token) or "perplexity_increase" (ratio).
        tolerance: sufficient relative distance below the target.
        state: store of the losses measured so far.
        dtype: dtype in which models compute losses.
        devices: devices of the evaluation; quantization runs on the first.

    Raises:
        RadioError: the target is out of reach.
    """
    original = load_model(checkpoint, dtype)
    reference_head = deepcopy(head(original))
    original = place(original, devices)
    reference = compute_reference(original, blocks.ids, blocks.sha256)
    del original  # frees device memory
    kept = state.load()
    measured: dict[str, float] = {} if kept is None else kept[1]["losses"]

    def measure(rate_bits: float) -> float:
        if str(rate_bits) not in measured:
            model = load_model(checkpoint)
            probed = replace(given, depths=solve(rate_bits))
            layers = quantize_layers(model, method, rate_bits, probed, devices[0])
            coded = assemble(model, layers)
            if dtype != torch.float32:
                # reload: a cast would also round buffers, such as rotary frequencies
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
