"""Search the least rate that keeps to a target of accuracy on the validation text."""

from omegaconf import DictConfig

from radio.allocate.solver import solver
from radio.data.tokens import load_token_sequences
from radio.models.step_inputs import checkpoint_path, evaluated_in, protocol_of
from radio.quantize.method_inputs import load_method_inputs
from radio.quantize.methods.base import MixedDepthMethod
from radio.rate import ACCURACY, Target, asked
from radio.runtime.artifacts import required_artifact
from radio.runtime.build import build
from radio.runtime.device import devices
from radio.runtime.errors import RadioError
from radio.runtime.manifest import recorded
from radio.runtime.outputs import output_path
from radio.runtime.state import StateStore
from radio.targets.search import search


def run(cfg: DictConfig) -> None:
    """Read `artifacts`; write the rate and all evaluated rates to the manifest at `out`."""
    out = output_path(cfg.out)
    with recorded("target", cfg, out) as (_, measured):
        target = asked(cfg)
        if not isinstance(target, Target) or target.kind not in ACCURACY:
            raise RadioError(
                f"{target} is no target of accuracy: set target.kl or target.perplexity_increase; "
                "bits and size need no search"
            )
        solve = solver(cfg)
        blocks = load_token_sequences(required_artifact(cfg, "tokens"), "validation")
        blocks = blocks.spaced(cfg.validation_blocks)
        state = StateStore.of_job("target", cfg, out)
        found, probes = search(
            checkpoint_path(cfg),
            build(cfg.method.quantizer, "method.quantizer", MixedDepthMethod),
            lambda rate_bits: solve(rate_bits)[0],
            load_method_inputs(cfg, probing=True),
            blocks,
            target,
            cfg.tolerance,
            state,
            dtype=evaluated_in(cfg),
            devices=devices(cfg.device),
        )
        measured["rate_bits"] = found.rate_bits
        measured["loss_validation"] = found.loss
        measured["probes"] = [probe._asdict() for probe in probes]
        measured["protocol"] = protocol_of(cfg, blocks.protocol)
    state.remove()
