"""Search the least rate that keeps to a target of accuracy on the validation text."""

from pathlib import Path

from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from radio.data.tokens import load_token_blocks
from radio.rates import ACCURACY, Target
from radio.runtime.device import devices
from radio.runtime.errors import RadioError
from radio.runtime.manifest import read_manifest, recorded
from radio.runtime.outputs import output_path
from radio.runtime.wheel import sha256_of
from radio.search import search
from radio.steps.inputs import asked, checkpoint_path, evaluated_in, needed, protocol_of
from radio.steps.method_inputs import given_to_method
from radio.steps.solver import solver


def run(cfg: DictConfig) -> None:
    """All `artifacts` -> the rate found, and what was tried, in the manifest at `out`."""
    out = output_path(cfg.out)
    partial = out.with_suffix(".partial")
    with recorded("target", cfg, out) as (_, measured):
        target = asked(cfg)
        if not isinstance(target, Target) or target.kind not in ACCURACY:
            raise RadioError(
                f"{target} is no target of accuracy: set target.kl or target.perplexity_increase; "
                "bits and size need no search"
            )
        solve = solver(cfg)
        blocks = load_token_blocks(needed(cfg, "tokens"), "validation")
        blocks = blocks.spaced(cfg.validation_blocks)
        found, probes = search(
            checkpoint_path(cfg),
            instantiate(cfg.method.quantizer),
            lambda rate_bits: solve(rate_bits)[0],
            given_to_method(cfg, probing=True),
            blocks,
            target,
            cfg.tolerance,
            partial,
            decided_by=_decided_by(cfg),
            dtype=evaluated_in(cfg),
            devices=devices(cfg.device),
        )
        measured["rate_bits"] = found.rate_bits
        measured["loss_validation"] = found.loss
        measured["probes"] = [probe._asdict() for probe in probes]
        measured["protocol"] = protocol_of(cfg, blocks.protocol)
    partial.unlink(missing_ok=True)


def _decided_by(cfg: DictConfig) -> str:
    """Method, seed, and hashes of the artifacts and of the model's weights."""
    given = {name: Path(path) for name, path in cfg.artifacts.items() if path is not None}
    weights = read_manifest(given.pop("model"))["measured"].get("sha256")
    hashes = {name: sha256_of(path) for name, path in given.items()}
    method = OmegaConf.to_yaml(cfg.method, resolve=True)
    return repr((method, cfg.seed, cfg.dtype, weights, hashes))
