"""Search the least rate that keeps to a target of accuracy on the validation text."""

from pathlib import Path

from hydra.utils import instantiate
from omegaconf import DictConfig

from radio.models import load_model
from radio.rates import ACCURACY, Target
from radio.runtime.errors import RadioError
from radio.runtime.manifest import recorded
from radio.search import Compression, search
from radio.steps.inputs import (
    allocation_inputs,
    asked,
    checkpoint_path,
    quantizer_inputs,
    validation_blocks,
)


def run(cfg: DictConfig) -> None:
    """All `artifacts` -> the rate found, and what was tried, in the manifest at `out`."""
    out = Path(cfg.out)
    partial = out.with_suffix(".partial")
    with recorded("target", cfg, out) as measured:
        target = asked(cfg)
        if not isinstance(target, Target) or target.kind not in ACCURACY:
            raise RadioError(
                f"{target} is no target of accuracy: set target.kl or target.perplexity_increase; "
                "bits and size need no search"
            )
        compression = Compression(
            path=checkpoint_path(cfg),
            method=instantiate(cfg.method.quantizer),
            solve=allocation_inputs(cfg),
            inputs=quantizer_inputs(cfg),
        )
        blocks = validation_blocks(cfg)
        found, probes = search(compression, blocks, target, cfg.tolerance, partial)
        measured["rate_bits"] = found.rate_bits
        measured["loss_validation"] = found.loss
        measured["probes"] = [probe._asdict() for probe in probes]
        measured["protocol"] = blocks.protocol
    partial.unlink(missing_ok=True)
