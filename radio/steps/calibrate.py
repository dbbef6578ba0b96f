"""Measure gradient variances and input means on the calibration text."""

from pathlib import Path

from hydra.utils import instantiate
from omegaconf import DictConfig

from radio.data.tokens import load_token_blocks
from radio.models import load_model
from radio.runtime.manifest import recorded
from radio.statistics import save_statistics
from radio.steps.inputs import checkpoint_path


def run(cfg: DictConfig) -> None:
    """`artifacts.model`, `artifacts.tokens` -> statistics of every linear layer at `out`."""
    out = Path(cfg.out)
    partial = out.with_suffix(".partial")
    with recorded("calibrate", cfg, out) as measured:
        estimator = instantiate(cfg.calibration.estimator)
        blocks = load_token_blocks(Path(cfg.artifacts.tokens), "calibration")
        model = load_model(checkpoint_path(cfg))
        statistics = estimator.run(model, blocks.ids, cfg.seed, partial)
        save_statistics(out, statistics)
        measured["protocol"] = blocks.protocol
        measured["groups"] = sum(entry.grad_var.numel() for entry in statistics.values())
    partial.unlink(missing_ok=True)
