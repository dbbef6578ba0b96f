"""Measure gradient variances and input means on the calibration text."""

from omegaconf import DictConfig

from radio.calibrate.random_sign import Estimator
from radio.calibrate.statistics import save_statistics
from radio.data.tokens import load_token_sequences
from radio.models import BlockwiseBackward
from radio.models.step_inputs import checkpoint_path
from radio.resources.flops import calibration_flops
from radio.resources.load_within_memory import model_to_calibrate
from radio.resources.memory_estimate import largest_batch
from radio.resources.model_shape import Geometry
from radio.runtime.artifacts import required_artifact
from radio.runtime.build import build
from radio.runtime.device import devices
from radio.runtime.dtypes import parse_dtype
from radio.runtime.manifest import recorded
from radio.runtime.outputs import output_path
from radio.runtime.peak import matmul_flops_per_s
from radio.runtime.state import StateStore


def run(cfg: DictConfig) -> None:
    """Read `artifacts.model` and `artifacts.tokens`; write all layers' statistics to `out`."""
    out = output_path(cfg.out)
    with recorded("calibrate", cfg, out) as (staged, measured):
        on = devices(cfg.device)
        estimator = build(cfg.calibration.estimator, "calibration.estimator", Estimator)
        dtype = parse_dtype("calibration.estimator.dtype", estimator.dtype)
        blocks = load_token_sequences(required_artifact(cfg, "tokens"), "calibration")
        model = model_to_calibrate(
            cfg,
            largest_batch(estimator.sequences, estimator.pilot_sequences),
            blocks.ids.shape[1],
            estimator.group_rows,
            dtype,
        )
        state = StateStore.of_job("calibrate", cfg, out)
        statistics = estimator.run(model, blocks.ids, cfg.seed, state, on)
        save_statistics(staged, statistics)
        measured["protocol"] = blocks.protocol
        measured["streamed"] = isinstance(model, BlockwiseBackward)
        if isinstance(model, BlockwiseBackward):
            measured["weights_read_bytes"] = model.streamed.weights_read_bytes
        measured["groups"] = sum(entry.grad_var.numel() for entry in statistics.values())
        measured["flops"] = calibration_flops(
            Geometry.of_checkpoint(checkpoint_path(cfg)),
            estimator.sequences,
            blocks.ids.shape[1],
            distortion_measure=estimator.distortion_measure,
            recomputed=measured["streamed"],
        )
        measured["peak_flops_per_s"] = matmul_flops_per_s(dtype, on[0])
    state.remove()
