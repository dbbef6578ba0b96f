"""Measure a quantized model's perplexity on a text and its divergence from the original."""

from copy import deepcopy
from pathlib import Path

import pandas as pd
from omegaconf import DictConfig

from radio.data.tokens import load_token_sequences
from radio.evaluate.perplexity import evaluate
from radio.evaluate.reference import load_reference
from radio.models import StreamedModel, head_of, place
from radio.models.step_inputs import evaluated_in, protocol_of
from radio.pack.file import install, install_streamed, load_quantized, map_quantized
from radio.resources.load_within_memory import model_to_run
from radio.runtime.artifacts import required_artifact
from radio.runtime.device import devices
from radio.runtime.errors import RadioError
from radio.runtime.files import atomic
from radio.runtime.manifest import read_manifest, recorded
from radio.runtime.outputs import output_path

CARRIED = ("method", "rate_bits", "mean_depth", "bpw", "pruned", "loss_validation")


def run(cfg: DictConfig) -> None:
    """Read `artifacts`; write the losses of all blocks to `out`, and a summary to its manifest."""
    out, coded = output_path(cfg.out), required_artifact(cfg, "quantized")
    with recorded("evaluate", cfg, out) as (staged, measured):
        on = devices(cfg.device)
        made = read_manifest(coded)
        blocks = load_token_sequences(required_artifact(cfg, "tokens"), cfg.split)
        reference = load_reference(required_artifact(cfg, "reference"), blocks.sha256)
        protocol = protocol_of(cfg, blocks.protocol)
        _check_protocol(required_artifact(cfg, "reference"), protocol)
        size_bytes = coded.stat().st_size
        model = model_to_run(cfg, blocks.ids.shape[1], evaluated_in(cfg), size_bytes)
        reference_head = deepcopy(head_of(model))
        if isinstance(model, StreamedModel):
            install_streamed(model, map_quantized(coded))
        else:
            model = place(install(model, load_quantized(coded)), on)
        evaluation = evaluate(model, blocks.ids, reference, reference_head)
        with atomic(staged) as scratch:
            pd.DataFrame(evaluation.rows()).to_csv(scratch, index_label="block")
        measured |= {name: value for name, value in made["measured"].items() if name in CARRIED}
        measured |= {"model": cfg.model.name, "size_bytes": made["size_bytes"]}
        measured |= {"wall_quantize_s": made["wall_s"] + made["measured"]["upstream_wall_s"]}
        measured |= {"protocol": protocol, "text_sha256": blocks.sha256}
        measured |= {"streamed": isinstance(model, StreamedModel)}
        measured |= {"tokens": int(blocks.ids[:, 1:].numel())}
        measured |= evaluation.summary()


def _check_protocol(reference: Path, protocol: str) -> None:
    """Raise if the reference was computed in another dtype."""
    theirs = read_manifest(reference)["measured"]["protocol"]
    if theirs != protocol:
        raise RadioError(
            f"artifacts.reference is of protocol {theirs}, and this evaluation of {protocol}: "
            "set the same dtype for both"
        )
