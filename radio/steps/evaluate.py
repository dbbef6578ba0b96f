"""Measure a quantized model's perplexity on a text and its divergence from the original."""

from copy import deepcopy
from pathlib import Path

import pandas as pd
from omegaconf import DictConfig

from radio.checkpoint import install, load_quantized
from radio.data.tokens import load_token_blocks
from radio.evaluate.perplexity import evaluate
from radio.evaluate.reference import load_reference
from radio.models import head, load_model, place
from radio.runtime.device import devices
from radio.runtime.errors import RadioError
from radio.runtime.files import atomic
from radio.runtime.manifest import read_manifest, recorded
from radio.steps.inputs import checkpoint_path, evaluated_in, protocol_of

CARRIED = ("method", "rate_bits", "bits_paper", "bits_true", "pruned", "loss_validation")


def run(cfg: DictConfig) -> None:
    """All `artifacts` -> block-by-block losses at `out`, their summary in its manifest."""
    out, coded = Path(cfg.out), Path(cfg.artifacts.quantized)
    with recorded("evaluate", cfg, out) as measured:
        on = devices(cfg.device)
        made = read_manifest(coded)
        blocks = load_token_blocks(Path(cfg.artifacts.tokens), cfg.split)
        reference = load_reference(Path(cfg.artifacts.reference), blocks.sha256)
        protocol = protocol_of(cfg, blocks.protocol)
        _check_protocol(Path(cfg.artifacts.reference), protocol)
        model = load_model(checkpoint_path(cfg), evaluated_in(cfg))
        reference_head = deepcopy(head(model))
        install(model, load_quantized(coded))
        model = place(model, on)
        evaluation = evaluate(model, blocks.ids, reference, reference_head)
        with atomic(out) as scratch:
            pd.DataFrame(evaluation.rows()).to_csv(scratch, index_label="block")
        measured |= {name: value for name, value in made["measured"].items() if name in CARRIED}
        measured |= {"model": cfg.model.name, "size_bytes": made["size_bytes"]}
        measured |= {"wall_quantize_s": made["wall_s"] + made["measured"]["upstream_wall_s"]}
        measured |= {"protocol": protocol, "text_sha256": blocks.sha256}
        measured |= {"tokens": int(blocks.ids[:, 1:].numel())}
        measured |= evaluation.summary()


def _check_protocol(reference: Path, protocol: str) -> None:
    """Refuse a reference that was computed in another dtype."""
    theirs = read_manifest(reference)["measured"]["protocol"]
    if theirs != protocol:
        raise RadioError(
            f"artifacts.reference is of protocol {theirs}, and this evaluation of {protocol}: "
            "set the same dtype for both"
        )
