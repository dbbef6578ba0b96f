"""Load a step's model into memory, or stream its blocks from disk if memory is short."""

import logging

import torch
from omegaconf import DictConfig
from transformers import PreTrainedModel

from radio.models import BlockwiseBackward, Runnable, StreamedModel, load_model
from radio.models.config import check_context
from radio.models.step_inputs import checkpoint_path
from radio.resources.memory_estimate import CalibrationFootprint, EvaluationFootprint
from radio.resources.model_shape import Geometry
from radio.runtime.device import CPU, ON_CPU, Devices, devices, free_bytes
from radio.runtime.memory import allowed_bytes, memory_for_job
from radio.runtime.outputs import output_path

log = logging.getLogger(__name__)

GB = 10**9


def model_to_calibrate(
    cfg: DictConfig, sequences: int, length: int, group_rows: int, dtype: torch.dtype
) -> PreTrainedModel | BlockwiseBackward:
    """Return the model, or its checkpoint with as many sequences at a time as fit in memory.

    Raises:
        RadioError: a setting is invalid, or the checkpoint cannot be read.
    """
    path, out = checkpoint_path(cfg), output_path(cfg.out)
    folder = out.with_name(f"{out.name}.inputs")
    check_context(path, length, "data.context_tokens")
    footprint = CalibrationFootprint(
        Geometry.of_checkpoint(path), length, group_rows, dtype.itemsize
    )
    on_disk, allowed = (
        cfg.activation_cache == "disk",
        allowed_bytes(cfg.memory_gb, memory_for_job()),
    )
    on = devices(cfg.device)
    if not should_stream(cfg, footprint.in_memory_bytes(), footprint.on_gpu_bytes(), on):
        return load_model(path)
    at_once = footprint.at_once(allowed, sequences, on_disk=on_disk)
    peak = footprint.streaming_bytes(at_once, on_disk=on_disk)
    log.info("streaming, %d sequences at once, about %.2f GB of memory", at_once, peak / GB)
    if peak > allowed:
        log.warning(
            "that is more than the %.2f GB allowed%s",
            allowed / GB,
            "" if on_disk else ": activation_cache=disk takes less",
        )
    return BlockwiseBackward(
        StreamedModel(path, dtype, on[0]), at_once, folder if on_disk else None
    )


def model_to_run(
    cfg: DictConfig, length: int, dtype: torch.dtype, coded_bytes: int = 0
) -> Runnable:
    """Return the model for a text in sequences of `length` tokens: in memory (CPU) or on disk.

    Args:
        cfg: config of the step.
        length: tokens of a sequence.
        dtype: type of weights and activations.
        coded_bytes: bytes of the quantized file that will replace its weights, if any.

    Raises:
        RadioError: a setting is invalid, or the checkpoint cannot be read.
    """
    path, on = checkpoint_path(cfg), devices(cfg.device)
    check_context(path, length, "data.context_tokens")
    footprint = EvaluationFootprint(
        Geometry.of_checkpoint(path), length, dtype.itemsize, coded_bytes
    )
    if should_stream(cfg, footprint.in_memory_bytes(), footprint.on_gpu_bytes(), on):
        return StreamedModel(path, dtype, on[0])
    return load_model(path, dtype)


def should_stream(
    cfg: DictConfig, in_memory_bytes: int, on_gpu_bytes: int = 0, on: Devices = ON_CPU
) -> bool:
    """Return whether to read blocks on demand: if requested, or if memory is short.

    Memory is that of the host, or of the GPUs in `on`.

    Raises:
        RadioError: `memory_gb` is not a positive number.
    """
    if cfg.streaming != "auto":
        return bool(cfg.streaming)
    gpu_bytes = sum(free_bytes(device) for device in on if device != CPU)
    allowed = allowed_bytes(cfg.memory_gb, memory_for_job())
    return in_memory_bytes > allowed or 0 < gpu_bytes < on_gpu_bytes
