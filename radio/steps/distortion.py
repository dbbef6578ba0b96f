"""Measure the weight error of every group at every depth, with a method's levels and scale fit."""

from omegaconf import DictConfig

from radio.allocate.depths import save_distortion
from radio.calibrate.statistics import load_statistics
from radio.models import load_model
from radio.models.step_inputs import checkpoint_path
from radio.quantize.codebooks import load_codebooks
from radio.quantize.measured_distortion import measure_distortion
from radio.quantize.methods.base import MixedDepthMethod
from radio.runtime.artifacts import optional_artifact, required_artifact
from radio.runtime.build import build
from radio.runtime.device import devices
from radio.runtime.manifest import recorded
from radio.runtime.outputs import output_path


def run(cfg: DictConfig) -> None:
    """Read `artifacts.model` and `artifacts.statistics`; write errors at depths 0..8 to `out`."""
    out = output_path(cfg.out)
    with recorded("distortion", cfg, out) as (staged, measured):
        on = devices(cfg.device)
        method = build(cfg.method.quantizer, "method.quantizer", MixedDepthMethod)
        statistics = load_statistics(required_artifact(cfg, "statistics"))
        learned = optional_artifact(cfg, "codebook")
        codebooks = None if learned is None else load_codebooks(learned)
        model = load_model(checkpoint_path(cfg))
        distortion = measure_distortion(model, method, statistics, codebooks, on[0])
        save_distortion(staged, distortion)
        measured["groups"] = sum(table.shape[:2].numel() for table in distortion.values())
