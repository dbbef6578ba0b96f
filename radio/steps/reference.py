"""Run the uncompressed model on a text once and cache its final hidden states."""

from omegaconf import DictConfig

from radio.data.tokens import load_token_sequences
from radio.evaluate.fp16_check import check_fp16
from radio.evaluate.reference import compute_reference, save_reference
from radio.models import StreamedModel, place
from radio.models.step_inputs import evaluated_in, protocol_of
from radio.resources.load_within_memory import model_to_run
from radio.runtime.artifacts import required_artifact
from radio.runtime.device import devices
from radio.runtime.manifest import recorded
from radio.runtime.outputs import output_path


def run(cfg: DictConfig) -> None:
    """Read `artifacts.model` and `artifacts.tokens`; write hidden states and losses to `out`."""
    out = output_path(cfg.out)
    with recorded("reference", cfg, out) as (staged, measured):
        on = devices(cfg.device)
        blocks = load_token_sequences(required_artifact(cfg, "tokens"), cfg.split)
        model = model_to_run(cfg, blocks.ids.shape[1], evaluated_in(cfg))
        if not isinstance(model, StreamedModel):
            model = place(model, on)
        reference = compute_reference(model, blocks.ids, blocks.sha256)
        perplexity = float(reference.nll.double().mean().exp())
        measured["anchor_difference"] = check_fp16(
            perplexity,
            cfg.model.anchors,
            blocks.protocol,
            blocks.ids.shape[1],
            cfg.anchor_tolerance,
        )
        save_reference(staged, reference)
        measured["streamed"] = isinstance(model, StreamedModel)
        measured["protocol"] = protocol_of(cfg, blocks.protocol)
        measured["perplexity"] = perplexity
