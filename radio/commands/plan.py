"""Estimate the cost of a compression before anything is downloaded.

usage: radio plan model=NAME method=NAME (rate_bits=BITS|target.bpw=BITS|target.size=SIZE)
                  [device=NAME] [KEY=VALUE ...]
       radio plan check=results/table_scaling.csv [device=NAME]

Parameters, groups, bytes on disk and in memory, operations and time are computed from the
architecture in the model's YAML (or the config.json of model=local model.path=DIR). Devices are in
config/hardware; times are estimated if the device's YAML has the speed. `check` compares estimates
with the measurements in a table of times and memory.
"""

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from omegaconf import DictConfig

from radio.commands.plan_check import check
from radio.commands.words import pairs, pop_rate, rate_of
from radio.models.spec import ModelSpec
from radio.quantize.methods.base import Method
from radio.rate import Target, rate_text
from radio.resources.file_size import checkpoint_bytes, statistics_bytes, stored
from radio.resources.flops import calibration_flops
from radio.resources.job_estimate import (
    TEST_TOKENS,
    calibration_s,
    calibration_tokens,
    kept_states,
    quantization_s,
    read_device,
    readings,
    size_of,
)
from radio.resources.memory_estimate import (
    FLOAT32_BYTES,
    CalibrationFootprint,
    EvaluationFootprint,
    allocation_bytes,
    largest_batch,
    quantization_bytes,
    quantization_on_gpu_bytes,
    streaming_quantization_bytes,
)
from radio.resources.model_shape import Geometry
from radio.resources.planned_shape import geometry_of
from radio.runtime.build import build
from radio.runtime.compose import compose_step
from radio.runtime.dtypes import parse_dtype
from radio.runtime.errors import RadioError
from radio.runtime.memory import SHARE, allowed_bytes
from radio.workflow import Job, JobGraph, job
from radio.workflow.variants import canonical

DEVICE = "cpu-2core"
UNKNOWN = "not known: the device's YAML has no speed for it"


def run(words: Sequence[str]) -> None:
    """Print the plan, one line per quantity.

    Raises:
        RadioError: bad input, or the model's YAML has no architecture.
    """
    given = pairs(words)
    device = read_device(given.pop("device", DEVICE))
    if "check" in given:
        path = Path(given.pop("check"))
        if given:
            raise RadioError(f"{', '.join(given)} beside check={path}: give device=NAME or nothing")
        check(path, device)
        return
    rate = rate_of(pop_rate(given))
    defaults = compose_step("quantize")
    names = {
        "model": given.pop("model", defaults.model.name),
        "method": canonical(given.pop("method", defaults.method.name)),
    }
    plan = JobGraph(tuple(f"{key}={value}" for key, value in given.items()))
    for name, value in list(plan_lines(plan, names, rate, device)):  # all lines or none
        print(f"{name:52}{value}")


def plan_lines(
    plan: JobGraph, names: dict[str, str], rate: float | Target, device: DictConfig
) -> Iterator[tuple[str, str]]:
    """Yield the lines for `model` and `method` in `names`: a name, and a value with its unit.

    Raises:
        RadioError: as for `run`.
    """
    spec = ModelSpec.from_config(plan.compose("prepare", model=names["model"]).model)
    method = plan.method(names["method"])
    quantizer, geometry = build(method.quantizer, "method.quantizer", Method), geometry_of(spec)
    if isinstance(rate, float):
        quantizer.check_rate(rate)
    file = stored(geometry, quantizer, rate, spec.group_rows)
    yield "parameters", f"{geometry.parameters:,}"
    yield "quantized weights", f"{geometry.weights:,}"
    yield "disk, checkpoint", _gb(checkpoint_bytes(geometry))
    yield "disk, result", f"{_gb(file.file_bytes)} ({file.bpw:.3f} bpw)"
    asked = rate_text(rate if isinstance(rate, float) else str(rate))
    made = {each.step: each for each in plan.behind(job("quantize", {**names, "rate": asked}))}
    if "allocate" in made:
        yield "weight groups", f"{geometry.groups(spec.group_rows):,}"
    if "calibrate" in made:
        yield from _calibration(plan, made["calibrate"], spec, geometry, device)
    if "refine" in made:
        yield "calibration", "in rounds (refinement): not planned"
    for step in ("codebook", "distortion"):
        if step in made:
            size = size_of(plan, made[step], spec, geometry, device)
            yield f"memory, {step} (estimate)", _gb(size.memory_bytes)
            yield f"time, {step} (estimate)", _time(size.work_s)
    if "allocate" in made:
        yield "memory, allocation", _gb(allocation_bytes(geometry, spec.group_rows))
    yield "memory, quantization", _gb(quantization_bytes(geometry))
    kept = kept_states(plan, method, spec, geometry)
    streaming = streaming_quantization_bytes(geometry, file.file_bytes, kept)
    yield "memory, quantization, streaming", _gb(streaming)
    if "gpu_memory_gb" in device:
        on_gpu = quantization_on_gpu_bytes(geometry, of_inputs=kept > 0)
        yield "memory of the GPU, quantization", _gb(on_gpu)
    seconds = quantization_s(device, geometry, names["method"])
    known = UNKNOWN if seconds is None else f"{_time(seconds)} (the speed of 3 bits)"
    yield "time, quantization", known
    evaluation = EvaluationFootprint(
        geometry, calibration_tokens(plan, spec), FLOAT32_BYTES, file.file_bytes
    )
    yield "memory, evaluation", _gb(evaluation.in_memory_bytes())
    streaming = evaluation.streaming_bytes(TEST_TOKENS)
    yield "memory, evaluation, streaming", f"{_gb(streaming)} ({TEST_TOKENS:,} tokens of text)"
    yield "device", f"{device.label} ({device.source})"


def _calibration(
    plan: JobGraph, of: Job, spec: ModelSpec, geometry: Geometry, device: DictConfig
) -> Iterator[tuple[str, str]]:
    """Yield the lines for gradient variances."""
    composed = plan.compose("calibrate", **dict(of.names))
    estimator = composed.calibration.estimator
    length = calibration_tokens(plan, spec)
    dtype = parse_dtype("calibration.estimator.dtype", estimator.dtype)
    footprint = CalibrationFootprint(geometry, length, spec.group_rows, dtype.itemsize)
    work = partial(
        calibration_flops,
        geometry,
        estimator.sequences,
        length,
        distortion_measure=estimator.distortion_measure,
    )
    known = estimator.dtype in device.flops_per_s

    def time(flops: int, readings: int = 0) -> str:
        args = device, geometry, flops, estimator.dtype, readings
        return _time(calibration_s(*args)) if known else UNKNOWN

    yield "disk, statistics", _gb(statistics_bytes(geometry, spec.group_rows))
    yield "memory, calibration", _gb(footprint.in_memory_bytes())
    if "gpu_memory_gb" in device:
        whole = footprint.on_gpu_bytes()
        streams = ": it streams" if whole > device.gpu_memory_gb * 1e9 else ""
        yield "memory of the GPU, calibration", f"{_gb(whole)} of {device.gpu_memory_gb}{streams}"
        yield (
            "memory of the GPU, calibration, streaming",
            _gb(footprint.on_gpu_streaming_bytes()),
        )
    yield "work, calibration", _flops(work(recomputed=False))
    yield "time, calibration", time(work(recomputed=False))
    longest = largest_batch(estimator.sequences, estimator.pilot_sequences)
    allowed = allowed_bytes(composed.memory_gb, int(SHARE * device.memory_gb * 1e9))
    kept = footprint.kept_bytes(on_disk=False)
    yield "a sequence's inputs of blocks", f"{_gb(kept)} ({estimator.sequences} x {length} tokens)"
    for place in ("memory", "disk"):
        on_disk = place == "disk"
        at_once = footprint.at_once(allowed, longest, on_disk=on_disk)
        peak = footprint.streaming_bytes(at_once, on_disk=on_disk)
        how = f"calibration, streaming, inputs {'on disk' if on_disk else 'in memory'}"
        yield f"memory, {how}", f"{_gb(peak)} (sequences at once: {at_once})"
        if on_disk:
            yield "disk, inputs of blocks", _gb(at_once * kept)
        yield f"time, {how}", time(work(recomputed=True), readings(estimator, at_once))


def _gb(size_bytes: int) -> str:
    return f"{size_bytes / 1e9:,.3g} GB" if size_bytes < 1e11 else f"{size_bytes / 1e9:,.0f} GB"


def _flops(count: int) -> str:
    return f"{count / 1e12:,.3g} TFLOP"


def _time(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.2g} s"
    return f"{seconds / 60:.3g} min" if seconds < 7200 else f"{seconds / 3600:,.3g} h"
