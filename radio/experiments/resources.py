"""What a job asks of a cluster, from the size of its model: memory, time, disk.

Calibration and quantization are sized as `radio plan` has them. Most others hold the whole model in
float32, so and so many times: an estimate, which a job that fails outgrows with each attempt.
"""

from typing import NamedTuple

import torch
from omegaconf import DictConfig, OmegaConf

from radio.experiments.jobs import Job
from radio.experiments.plan import Plan
from radio.forecast import checkpoint_bytes, statistics_bytes
from radio.models.footprint import (
    CalibrationFootprint,
    allocation_bytes,
    quantization_bytes,
    streaming_quantization_bytes,
    whole_model_bytes,
)
from radio.models.geometry import Geometry
from radio.models.operations import calibration_flops
from radio.models.planned import geometry_of
from radio.models.spec import ModelSpec, TrainedSource, WheelSource
from radio.runtime.compose import CONFIG, options, unknown
from radio.runtime.errors import RadioError

MB = 10**6
# of what is planned, for the first attempt; each that fails is followed by one with so much more
MEMORY_MARGIN, TIME_MARGIN, GROWTH = 1.25, 4.0, 1.5
# two Snakemakes around a job, which count as its own
AROUND_BYTES = 600 * MB
STARTING_S = 1800.0  # imports, reading, a slow file system
DOWNLOAD_BYTES_PER_S = 2e7
# copies of the model in float32: the original, the quantized, gradients or a model under way
COPIES = {"reference": 1, "evaluate": 1, "downstream": 2, "codebook": 1, "distortion": 1}
COPIES |= {"target": 2, "refine": 3, "prepare": 2}
PROBES = 8  # of the search for a target; docs/log.md has 4
TEST_TOKENS = 600_000  # of the longest test text, C4's, and a few more
TASK_TOKENS = 10**7  # of a set of downstream tasks
GROUPS_PER_S = 5e5  # that are given depths
DEPTHS = 8  # at which distortions are measured
CODED_ON = "cpu-2core"  # whose speed of quantization is known


class Asked(NamedTuple):
    """Memory of the host and disk in megabytes, time in minutes."""

    mem_mb: int
    runtime: int
    disk_mb: int


class _Size(NamedTuple):
    """What a job takes, before any margin."""

    memory_bytes: int
    work_s: float
    disk_bytes: int


def asked(plan: Plan, of: Job, device: str, memory_gb: float | int, attempt: int = 1) -> Asked:
    """What a job asks for: all of a node for a day where its model's sizes are not known.

    Args:
        plan: the job graph.
        of: a job on a model.
        device: name of the YAML in config/hardware with the speeds of a node.
        memory_gb: of a node. A calibration or quantization that needs more streams within it.
        attempt: from 1.

    Raises:
        RadioError: there is no such device.
    """
    speeds = read_device(device)
    names = dict(of.names)
    spec = ModelSpec.from_config(plan.compose("prepare", model=names["model"]).model)
    try:
        geometry = geometry_of(spec)
    except RadioError:
        return Asked(int(1000 * memory_gb), 24 * 60, 0)
    size = _size(plan, of, spec, geometry, speeds)
    more = GROWTH ** (attempt - 1)
    memory_mb = more * (MEMORY_MARGIN * size.memory_bytes + AROUND_BYTES) / MB
    if of.step in ("calibrate", "quantize"):
        memory_mb = min(memory_mb, 1000 * memory_gb)
    minutes = more * (STARTING_S + TIME_MARGIN * size.work_s) / 60
    return Asked(int(memory_mb), int(minutes), int(MEMORY_MARGIN * size.disk_bytes / MB) + 1)


def read_device(name: str) -> DictConfig:
    """A device's YAML.

    Raises:
        RadioError: there is none of that name.
    """
    if name not in options("hardware"):
        raise RadioError(unknown("device", name, options("hardware")))
    device = OmegaConf.load(CONFIG / "hardware" / f"{name}.yaml")
    assert isinstance(device, DictConfig)
    return device


def calibration_tokens(plan: Plan, spec: ModelSpec) -> int:
    """Tokens of a calibration sequence."""
    return int(plan.compose("tokenize", data=spec.calibration_data).data.context_tokens)


def _size(plan: Plan, of: Job, spec: ModelSpec, geometry: Geometry, speeds: DictConfig) -> _Size:
    """What a job takes, by its step."""
    names, length = dict(of.names), calibration_tokens(plan, spec)
    flops_per_s = float(speeds.flops_per_s.bfloat16)
    coded_per_s = float(read_device(CODED_ON).quantized_weights_per_s.radio)
    coding_s = geometry.weights / coded_per_s
    result_bytes = 2 * geometry.parameters

    def forward_s(tokens: int) -> float:
        return 2 * geometry.parameters * tokens / flops_per_s

    def backward_s(sequences: int, output: str) -> float:
        work = calibration_flops(geometry, sequences, length, output=output, recomputed=True)
        return work / flops_per_s

    def whole(work_s: float, disk_bytes: int) -> _Size:
        return _Size(whole_model_bytes(geometry, COPIES[of.step], length), work_s, disk_bytes)

    match of.step:
        case "prepare":
            stored = checkpoint_bytes(geometry)
            size = whole(stored / DOWNLOAD_BYTES_PER_S, 2 * stored)
            at_once = isinstance(spec.source, WheelSource | TrainedSource)
            return (
                size
                if at_once
                else size._replace(memory_bytes=streaming_quantization_bytes(geometry))
            )
        case "calibrate":
            estimator = plan.compose("calibrate", **names).calibration.estimator
            width = getattr(torch, estimator.dtype).itemsize
            footprint = CalibrationFootprint(geometry, length, spec.group_rows, width)
            return _Size(
                footprint.in_memory_bytes(),
                backward_s(estimator.sequences, estimator.output),
                2 * statistics_bytes(geometry, spec.group_rows),
            )
        case "refine":
            each = plan.compose("refine", **names).refinement.estimator
            work_s = backward_s(each.batch * each.iterations * each.tokens, "hidden")
            return whole(work_s, 2 * statistics_bytes(geometry, spec.group_rows))
        case "allocate":
            groups = geometry.groups(spec.group_rows)
            return _Size(
                allocation_bytes(geometry, spec.group_rows), groups / GROUPS_PER_S, 2 * groups
            )
        case "quantize":
            return _Size(quantization_bytes(geometry), coding_s, 2 * result_bytes)
        case "codebook" | "distortion":
            depths = DEPTHS if of.step == "distortion" else 1
            return whole(depths * coding_s, 4 * depths * geometry.groups(spec.group_rows))
        case "target":
            validated = plan.compose("target", **names).validation_blocks * length
            return whole(PROBES * (coding_s + forward_s(validated)), MB)
        case "downstream":
            return whole(forward_s(TASK_TOKENS), MB)
        case "reference" | "evaluate":
            return whole(forward_s(TEST_TOKENS), 2 * TEST_TOKENS * geometry.width)
    raise RadioError(unknown("step", of.step, COPIES))
