"""Measure a quantized model's perplexity on a text and its divergence from the original."""

from copy import deepcopy
from pathlib import Path

import pandas as pd
from omegaconf import DictConfig

from radio.checkpoint import install, load_quantized
from radio.data.tokens import load_token_blocks
from radio.evaluate.perplexity import evaluate
from radio.evaluate.reference import load_reference
from radio.models import head, load_model
from radio.runtime.files import atomic
from radio.runtime.manifest import read_manifest, recorded
from radio.steps.inputs import checkpoint_path

CARRIED = ("method", "rate_bits", "bits_paper", "bits_true", "pruned", "loss_validation")


def run(cfg: DictConfig) -> None:
    """All `artifacts` -> block-by-block losses at `out`, their summary in its manifest."""
    out, coded = Path(cfg.out), Path(cfg.artifacts.quantized)
    with recorded("evaluate", cfg, out) as measured:
        made = read_manifest(coded)
        blocks = load_token_blocks(Path(cfg.artifacts.tokens), cfg.split)
        reference = load_reference(Path(cfg.artifacts.reference), blocks.sha256)
        model = load_model(checkpoint_path(cfg))
        reference_head = deepcopy(head(model))
        install(model, load_quantized(coded))
        evaluation = evaluate(model, blocks.ids, reference, reference_head)
        with atomic(out) as scratch:
            pd.DataFrame(evaluation.rows()).to_csv(scratch, index_label="block")
        measured |= {name: value for name, value in made["measured"].items() if name in CARRIED}
        measured |= {"model": cfg.model.name, "size_bytes": made["size_bytes"]}
        measured |= {"wall_quantize_s": made["wall_s"] + made["measured"]["upstream_wall_s"]}
        measured |= {"protocol": blocks.protocol, "text_sha256": blocks.sha256}
        measured |= {"tokens": int(blocks.ids[:, 1:].numel())}
        measured |= evaluation.summary()
