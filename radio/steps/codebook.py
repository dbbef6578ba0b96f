"""Learn the levels of every depth from a sample of the weight groups."""

from omegaconf import DictConfig

from radio.calibrate.statistics import load_statistics
from radio.models import decoder_linears, load_model
from radio.models.step_inputs import checkpoint_path
from radio.quantize.codebooks import fit_codebooks, save_codebooks
from radio.runtime.artifacts import required_artifact
from radio.runtime.device import devices
from radio.runtime.manifest import recorded
from radio.runtime.outputs import output_path


def run(cfg: DictConfig) -> None:
    """Read `artifacts.model` and `artifacts.statistics`; write levels of depths 1..8 to `out`."""
    out = output_path(cfg.out)
    with recorded("codebook", cfg, out) as (staged, measured):
        on = devices(cfg.device)
        statistics = load_statistics(required_artifact(cfg, "statistics"))
        linears = decoder_linears(load_model(checkpoint_path(cfg)))
        weights = {name: linear.weight.detach() for name, linear in linears.items()}
        codebooks = fit_codebooks(weights, statistics, cfg.seed, on[0])
        save_codebooks(staged, codebooks)
        measured["largest_level"] = [float(levels.abs().max()) for levels in codebooks]
