"""Devices of a job: the CPU, one GPU or several. The only module that queries torch for GPUs."""

from collections import Counter
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import fields, is_dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor

from radio.runtime.errors import RadioError

# one device, or several that a model is distributed over
Devices = tuple[torch.device, ...]
CPU = torch.device("cpu")
ON_CPU: Devices = (CPU,)

T = TypeVar("T")


def gpus() -> Devices:
    """Return all GPUs that torch sees, without initialising CUDA on them."""
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    return tuple(torch.device("cuda", index) for index in range(count))


def devices(setting: str) -> Devices:
    """Return the devices that `device` in a step's configuration stands for.

    Args:
        setting: "auto" (a GPU if there is one, else the CPU), "cpu", "cuda" (the first GPU),
            "cuda:N", or "spread" (all GPUs).

    Raises:
        RadioError: the setting is unknown, or there is no such GPU.
    """
    there = gpus()
    known = {"auto": there[:1] or ON_CPU, "cpu": ON_CPU}
    if there:
        known |= {"cuda": there[:1], "spread": there, **{str(gpu): (gpu,) for gpu in there}}
    if setting not in known:
        raise RadioError(
            f"device={setting} is none that torch sees here ({len(there)} GPUs): "
            f"set device or RADIO_DEVICE to {', '.join(known)}"
        )
    return known[setting]


def free_bytes(gpu: torch.device) -> int:
    """Return the free memory of a GPU in bytes."""
    return int(torch.cuda.mem_get_info(gpu)[0])


def name_of(device: torch.device) -> str:
    """Return the model name of a GPU, or "cpu"."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"


def gpus_used() -> str | None:
    """Return the models of the GPUs that this process has computed on; None if it used none."""
    used = Counter(name_of(gpu) for gpu, peak in _peaks().items() if peak > 0)
    named = (name if count == 1 else f"{count} x {name}" for name, count in used.items())
    return ", ".join(named) or None


def gpu_peak_bytes() -> int:
    """Return the peak memory that torch held, summed over GPUs."""
    return sum(_peaks().values())


def _peaks() -> dict[torch.device, int]:
    """Return the peak memory by GPU; empty if CUDA was not initialised."""
    if not torch.cuda.is_initialized():
        return {}
    return {gpu: torch.cuda.max_memory_allocated(gpu) for gpu in gpus()}


def to_device(value: T, device: torch.device) -> T:
    """Return `value` with its tensors on `device`, also inside dataclasses, tuples and mappings."""
    result: T = _moved(value, device)
    return result


def _moved(value: Any, device: torch.device) -> Any:
    if isinstance(value, Tensor):
        return value.to(device)
    if isinstance(value, Mapping):
        return {key: _moved(item, device) for key, item in value.items()}
    if isinstance(value, tuple):
        items = tuple(_moved(item, device) for item in value)
        return value if all(new is old for new, old in zip(items, value, strict=True)) else items
    if is_dataclass(value) and not isinstance(value, type):
        parts = {each.name: getattr(value, each.name) for each in fields(value)}
        there = _moved(parts, device)
        # an object that layers share stays the same object if its tensors are already on the device
        return value if all(there[name] is parts[name] for name in parts) else type(value)(**there)
    return value


def default_device(device: torch.device) -> AbstractContextManager[object]:
    """Return a context in which `device` is the default for new tensors (no-op on the CPU)."""
    return nullcontext() if device == CPU else device
