"""Measure gradient variances and input means at the quantized weights, iteration by iteration."""

from omegaconf import DictConfig

from radio.calibrate.statistics import save_statistics
from radio.data.tokens import load_token_sequences
from radio.models import load_model
from radio.models.step_inputs import checkpoint_path
from radio.paper_loop import Refinement
from radio.rate import Target, asked
from radio.runtime.artifacts import required_artifact
from radio.runtime.build import build
from radio.runtime.device import devices
from radio.runtime.errors import RadioError
from radio.runtime.manifest import recorded
from radio.runtime.outputs import output_path
from radio.runtime.state import StateStore


def run(cfg: DictConfig) -> None:
    """Read `artifacts.model` and `artifacts.tokens`; write the best statistics to `out`.

    The manifest contains the trace of all iterations.
    """
    out = output_path(cfg.out)
    with recorded("refine", cfg, out) as (staged, measured):
        on = devices(cfg.device)
        refinement = build(cfg.refinement.estimator, "refinement.estimator", Refinement)
        rate = asked(cfg)
        if isinstance(rate, Target):
            raise RadioError(
                f"target.{rate} does not suit refinement, whose statistics are those of one mean "
                "depth: set rate_bits, or take method=radio"
            )
        tokens = required_artifact(cfg, "tokens")
        blocks = load_token_sequences(tokens, "calibration")
        validation = load_token_sequences(tokens, "validation")
        model = load_model(checkpoint_path(cfg))
        state = StateStore.of_job("refine", cfg, out)
        given = blocks.ids, validation.ids, rate, cfg.seed, state
        refined = refinement.run(model, *given, on)
        save_statistics(staged, refined.statistics)
        measured["protocol"] = blocks.protocol
        measured["protocol_validation"] = validation.protocol
        measured["rate_bits"] = rate
        measured["groups"] = sum(entry.grad_var.numel() for entry in refined.statistics.values())
        measured["perplexity_fp16"] = refined.perplexity_fp16
        measured["best_iteration"] = refined.best_iteration
        measured["trace"] = refined.trace
    state.remove()
