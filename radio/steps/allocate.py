"""Solve the rate-distortion problem: a bit depth for every group at one rate."""

from collections.abc import Mapping

from omegaconf import DictConfig

from radio.allocate.depths import save_depths
from radio.allocate.layers import share_at_depth_zero
from radio.allocate.solver import solver
from radio.calibrate.statistics import LayerStatistics, load_statistics
from radio.rate import ACCURACY, Target, asked
from radio.runtime.artifacts import optional_artifact, required_artifact
from radio.runtime.build import build
from radio.runtime.manifest import read_manifest, recorded
from radio.runtime.outputs import output_path


def run(cfg: DictConfig) -> None:
    """Read `artifacts.statistics`; write all groups' depths at the requested rate to `out`."""
    out = output_path(cfg.out)
    with recorded("allocate", cfg, out) as (staged, measured):
        rate, solve = asked(cfg), solver(cfg)
        statistics = load_statistics(required_artifact(cfg, "statistics"))
        if isinstance(rate, Target) and rate.kind in ACCURACY:
            found = read_manifest(required_artifact(cfg, "target"))["measured"]
            rate = float(found["rate_bits"])
            measured["loss_validation"] = found["loss_validation"]
        if isinstance(rate, Target):
            rate = _depth_within(cfg, rate, statistics)
        depths, allocation = solve(rate)
        save_depths(staged, depths)
        before = [optional_artifact(cfg, name) for name in ("distortion", "target")]
        upstream = [read_manifest(path) for path in before if path is not None]
        measured["upstream_wall_s"] = sum(manifest["wall_s"] for manifest in upstream)
        measured["mean_depth"] = allocation.rate_bits
        measured["log2_price"] = allocation.log2_price
        measured["pruned"] = share_at_depth_zero(statistics, depths)
        measured["groups_at_depth"] = allocation.depths.bincount(minlength=9).tolist()


def _depth_within(
    cfg: DictConfig, target: Target, statistics: Mapping[str, LayerStatistics]
) -> float:
    """Return the mean depth that meets a target of bits or bytes for `artifacts.model`."""
    # imported here: a job at a given mean depth would spend most of its time on this import
    from radio.models.load import skeleton
    from radio.models.step_inputs import checkpoint_path
    from radio.quantize.codebooks import load_codebooks
    from radio.quantize.methods.base import MixedDepthMethod
    from radio.targets.bytes import mean_depth

    required_artifact(cfg, "model")
    codebook = optional_artifact(cfg, "codebook")
    return mean_depth(
        target,
        skeleton(checkpoint_path(cfg)),
        build(cfg.method.quantizer, "method.quantizer", MixedDepthMethod),
        statistics,
        None if codebook is None else load_codebooks(codebook),
    )
