"""Solve the rate-distortion problem: a bit depth for every group at one mean rate."""

from pathlib import Path

from omegaconf import DictConfig

from radio.allocate import allocate_layers, save_depths
from radio.calibrate import load_statistics
from radio.runtime.manifest import recorded
from radio.steps.inputs import rate_bits


def run(cfg: DictConfig) -> None:
    """`artifacts.statistics`, `rate_bits` -> depths of every group at `out`."""
    out = Path(cfg.out)
    with recorded("allocate", cfg, out) as measured:
        statistics = load_statistics(Path(cfg.artifacts.statistics))
        depths, allocation = allocate_layers(statistics, rate_bits(cfg))
        save_depths(out, depths)
        measured["bits_paper"] = allocation.rate_bits
        measured["log2_price"] = allocation.log2_price
        histogram = allocation.depths.bincount(minlength=9)
        measured["groups_at_depth"] = histogram.tolist()
