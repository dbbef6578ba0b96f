"""Solve the rate-distortion problem: a bit depth for every group at one mean rate."""

from pathlib import Path

from omegaconf import DictConfig

from radio.allocate import allocate_layers, load_distortion, save_depths, share_at_depth_zero
from radio.calibrate import load_statistics
from radio.runtime.manifest import recorded
from radio.steps.inputs import given, rate_bits


def run(cfg: DictConfig) -> None:
    """`artifacts.statistics`, `rate_bits`, `method.solver` -> depths of every group at `out`."""
    out = Path(cfg.out)
    with recorded("allocate", cfg, out) as measured:
        statistics = load_statistics(Path(cfg.artifacts.statistics))
        measured_at = given(cfg, "distortion")
        distortion = None if measured_at is None else load_distortion(measured_at)
        solver = cfg.method.get("solver", "ascent")
        depths, allocation = allocate_layers(statistics, rate_bits(cfg), solver, distortion)
        save_depths(out, depths)
        measured["bits_paper"] = allocation.rate_bits
        measured["log2_price"] = allocation.log2_price
        measured["solver"] = solver
        measured["share_at_depth_0"] = share_at_depth_zero(statistics, depths)
        histogram = allocation.depths.bincount(minlength=9)
        measured["groups_at_depth"] = histogram.tolist()
