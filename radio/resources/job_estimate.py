"""Estimate a job's memory, time and disk from the shape of its model.

Calibration, allocation, quantization and evaluation are modelled and compared with measurements.
Most other steps hold the whole model in float32, some of them several copies, which is a rough
estimate.
"""

from typing import NamedTuple

from omegaconf import DictConfig, OmegaConf

from radio.models.spec import ModelSpec, TrainedSource, WheelSource
from radio.quantize.methods.base import Method
from radio.rate import requested_rate
from radio.resources.file_size import checkpoint_bytes, statistics_bytes, stored
from radio.resources.flops import calibration_flops
from radio.resources.memory_estimate import (
    CalibrationFootprint,
    EvaluationFootprint,
    allocation_bytes,
    largest_batch,
    quantization_bytes,
    streaming_quantization_bytes,
    whole_model_bytes,
)
from radio.resources.model_shape import Geometry
from radio.runtime.build import build
from radio.runtime.compose import CONFIG, options, unknown
from radio.runtime.dtypes import parse_dtype
from radio.runtime.errors import RadioError
from radio.runtime.memory import SHARE, allowed_bytes
from radio.workflow.graph import JobGraph
from radio.workflow.jobs import ARTIFACTS, Job
from radio.workflow.variants import split

MB = 10**6
DOWNLOAD_BYTES_PER_S = 2e7
# float32 copies of the model: the original, the quantized, gradients or a model being edited
COPIES = {"downstream": 2, "codebook": 1, "distortion": 1}
COPIES |= {"target": 2, "refine": 3, "prepare": 2}
PROBES = 8  # evaluations in a search for a target; docs/log.md has 4
TEST_TOKENS = 600_000  # tokens of the longest test text, C4's, rounded up
TASK_TOKENS = 10**7  # tokens of a set of downstream tasks
GROUPS_PER_S = 5e5  # groups allocated per second
DEPTHS = 8  # number of depths at which distortions are measured
CODED_ON = "cpu-2core"  # the device whose quantization speed is known
# passes of calibration over all weights: row clustering, group variances
PASSES = 2


class Size(NamedTuple):
    """Resources of a job before any margin."""

    memory_bytes: int
    work_s: float
    disk_bytes: int


def read_device(name: str) -> DictConfig:
    """Return a device's YAML.

    Raises:
        RadioError: there is none with that name.
    """
    if name not in options("hardware"):
        raise RadioError(unknown("device", name, options("hardware")))
    device = OmegaConf.load(CONFIG / "hardware" / f"{name}.yaml")
    assert isinstance(device, DictConfig)
    return device


def calibration_tokens(plan: JobGraph, spec: ModelSpec) -> int:
    """Return the number of tokens of a calibration sequence."""
    return int(plan.compose("tokenize", data=spec.calibration_data).data.context_tokens)


def calibration_s(
    speeds: DictConfig, geometry: Geometry, flops: int, dtype: str, readings: int = 0
) -> float:
    """Return the seconds of a calibration.

    Args:
        speeds: a device's YAML.
        geometry: shape of the model.
        flops: operations of the forward and backward passes.
        dtype: type of these operations, one of `speeds.flops_per_s`.
        readings: number of times that the whole checkpoint is read meanwhile.
    """
    reading_s = checkpoint_bytes(geometry) / speeds.read_bytes_per_s
    # the next block is read while the current one computes
    passing_s = max(flops / speeds.flops_per_s[dtype], readings * reading_s)
    looking_s = max(geometry.weights / speeds.passed_weights_per_s, PASSES * reading_s)
    return float(passing_s + looking_s)


def readings(estimator: DictConfig, at_once: int) -> int:
    """Return how often all blocks are read for gradients: forward and backward, pilot and rest."""
    rest = estimator.sequences - estimator.pilot_sequences
    return 2 * (-(-estimator.pilot_sequences // at_once) + -(-rest // at_once))


def quantization_s(speeds: DictConfig, geometry: Geometry, method: str) -> float | None:
    """Return the seconds of quantization with a method or its variant; None if speed is unknown."""
    per_s = speeds.quantized_weights_per_s.get(split(method)[0])
    return None if per_s is None else float(geometry.weights / per_s)


def kept_states(plan: JobGraph, method: DictConfig, spec: ModelSpec, geometry: Geometry) -> int:
    """Return the bytes of the calibration text's hidden states, for a method that needs inputs."""
    if "inputs" not in method.needs:
        return 0
    dtype = parse_dtype("method.inputs.dtype", method.inputs.dtype)
    tokens: int = method.inputs.sequences * calibration_tokens(plan, spec)
    return tokens * geometry.width * dtype.itemsize


def size_of(
    plan: JobGraph, of: Job, spec: ModelSpec, geometry: Geometry, speeds: DictConfig
) -> Size:
    """Return a job's resources on a device; it streams if its settings say so.

    Args:
        plan: the job graph.
        of: a job on a model.
        spec: specification of the model.
        geometry: shape of the model.
        speeds: the device's YAML.
    """
    names, length = dict(of.names), calibration_tokens(plan, spec)
    flops_per_s = float(speeds.flops_per_s.bfloat16)
    coding_s = _coding_s(speeds, geometry, names.get("method", "radio"))

    def forward_s(tokens: int) -> float:
        return 2 * geometry.parameters * tokens / flops_per_s

    def whole(work_s: float, disk_bytes: int) -> Size:
        return Size(whole_model_bytes(geometry, COPIES[of.step], length), work_s, disk_bytes)

    match of.step:
        case "prepare":
            checkpoint = checkpoint_bytes(geometry)
            size = whole(checkpoint / DOWNLOAD_BYTES_PER_S, 2 * checkpoint)
            if isinstance(spec.source, WheelSource | TrainedSource):
                return size
            return size._replace(memory_bytes=streaming_quantization_bytes(geometry, 0))
        case "calibrate":
            return _of_calibration(plan, names, spec, geometry, speeds)
        case "refine":
            each = plan.compose("refine", **names).refinement.estimator
            sequences = each.batch * each.iterations * each.tokens
            work = calibration_flops(
                geometry, sequences, length, distortion_measure="hidden", recomputed=True
            )
            return whole(work / flops_per_s, 2 * statistics_bytes(geometry, spec.group_rows))
        case "allocate":
            groups = geometry.groups(spec.group_rows)
            return Size(
                allocation_bytes(geometry, spec.group_rows), groups / GROUPS_PER_S, 2 * groups
            )
        case "quantize":
            memory_bytes = _memory_of_quantization(plan, names, spec, geometry)
            return Size(memory_bytes, coding_s, 4 * geometry.parameters)
        case "codebook" | "distortion":
            depths = DEPTHS if of.step == "distortion" else 1
            return whole(depths * coding_s, 4 * depths * geometry.groups(spec.group_rows))
        case "target":
            validated = plan.compose("target", **names).validation_blocks * length
            return whole(PROBES * (coding_s + forward_s(validated)), MB)
        case "downstream":
            return whole(forward_s(TASK_TOKENS), MB)
        case "reference" | "evaluate":
            composed = plan.compose(of.step, **names)
            dtype_bytes = parse_dtype("dtype", composed.dtype).itemsize
            coded = _result_bytes(plan, names, spec, geometry) if of.step == "evaluate" else 0
            footprint = EvaluationFootprint(geometry, length, dtype_bytes, coded)
            memory_bytes = (
                footprint.streaming_bytes(TEST_TOKENS)
                if composed.streaming is True
                else footprint.in_memory_bytes()
            )
            return Size(memory_bytes, forward_s(TEST_TOKENS), 2 * TEST_TOKENS * geometry.width)
    raise RadioError(unknown("step", of.step, ARTIFACTS))


def _coding_s(speeds: DictConfig, geometry: Geometry, method: str) -> float:
    """Return the seconds of quantization; Radio's on a known device if the speed is unknown."""
    own = quantization_s(speeds, geometry, method)
    known = float(read_device(CODED_ON).quantized_weights_per_s.radio)
    return geometry.weights / known if own is None else own


def _of_calibration(
    plan: JobGraph, names: dict[str, str], spec: ModelSpec, geometry: Geometry, speeds: DictConfig
) -> Size:
    composed, length = plan.compose("calibrate", **names), calibration_tokens(plan, spec)
    estimator, streaming = composed.calibration.estimator, composed.streaming is True
    dtype = parse_dtype("calibration.estimator.dtype", estimator.dtype)
    footprint = CalibrationFootprint(geometry, length, spec.group_rows, dtype.itemsize)
    work = calibration_flops(
        geometry,
        estimator.sequences,
        length,
        distortion_measure=estimator.distortion_measure,
        recomputed=streaming,
    )
    on_disk = composed.activation_cache == "disk"
    longest = largest_batch(estimator.sequences, estimator.pilot_sequences)
    allowed = allowed_bytes(composed.memory_gb, int(SHARE * speeds.memory_gb * 1e9))
    at_once = footprint.at_once(allowed, longest, on_disk=on_disk)
    times = readings(estimator, at_once) if streaming else 0
    known = estimator.dtype if estimator.dtype in speeds.flops_per_s else "bfloat16"
    work_s = calibration_s(speeds, geometry, work, known, times)
    memory_bytes = (
        footprint.streaming_bytes(at_once, on_disk=on_disk)
        if streaming
        else footprint.in_memory_bytes()
    )
    disk_bytes = 2 * statistics_bytes(geometry, spec.group_rows)
    if streaming and on_disk:
        disk_bytes += at_once * footprint.kept_bytes(on_disk=False)
    return Size(memory_bytes, work_s, disk_bytes)


def _memory_of_quantization(
    plan: JobGraph, names: dict[str, str], spec: ModelSpec, geometry: Geometry
) -> int:
    composed = plan.compose("quantize", **names)
    if composed.streaming is not True:
        return quantization_bytes(geometry)
    kept = kept_states(plan, plan.method(names["method"]), spec, geometry)
    result_bytes = _result_bytes(plan, names, spec, geometry)
    return streaming_quantization_bytes(geometry, result_bytes, kept)


def _result_bytes(
    plan: JobGraph, names: dict[str, str], spec: ModelSpec, geometry: Geometry
) -> int:
    """Return the bytes of the quantized file; a guess if its rate depends on measurements."""
    composed = plan.compose("quantize", **names)
    quantizer = build(plan.method(names["method"]).quantizer, "method.quantizer", Method)
    try:
        rate = requested_rate(composed.rate_bits, composed.target)
        return stored(geometry, quantizer, rate, spec.group_rows).file_bytes
    except RadioError:
        return 2 * geometry.weights
