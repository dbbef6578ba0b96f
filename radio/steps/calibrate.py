"""Measure gradient variances and input means on the calibration text."""

from pathlib import Path

import torch
from hydra.utils import instantiate
from omegaconf import DictConfig

from radio.data.tokens import load_token_blocks
from radio.models import Recomputing
from radio.runtime.manifest import recorded
from radio.statistics import save_statistics
from radio.steps.holding import model_to_calibrate


def run(cfg: DictConfig) -> None:
    """`artifacts.model`, `artifacts.tokens` -> statistics of every linear layer at `out`."""
    out = Path(cfg.out)
    partial = out.with_suffix(".partial")
    with recorded("calibrate", cfg, out) as measured:
        estimator = instantiate(cfg.calibration.estimator)
        blocks = load_token_blocks(Path(cfg.artifacts.tokens), "calibration")
        model = model_to_calibrate(
            cfg,
            estimator.sequences,
            blocks.ids.shape[1],
            estimator.group_rows,
            getattr(torch, estimator.dtype),
        )
        statistics = estimator.run(model, blocks.ids, cfg.seed, partial)
        save_statistics(out, statistics)
        measured["protocol"] = blocks.protocol
        measured["streamed"] = isinstance(model, Recomputing)
        if isinstance(model, Recomputing):
            measured["weights_read_bytes"] = model.streamed.weights_read_bytes
        measured["groups"] = sum(entry.grad_var.numel() for entry in statistics.values())
    partial.unlink(missing_ok=True)
