"""Move a model from the CPU, where it is loaded and edited, to the devices that run it."""

import torch
from accelerate import dispatch_model, infer_auto_device_map
from accelerate.utils import get_balanced_memory
from torch import nn
from transformers import PreTrainedModel

from radio.runtime.device import Devices, free_bytes
from radio.runtime.errors import RadioError

# fraction of a GPU's free memory for parameters; the rest is for activations
PARAMETER_SHARE = 0.8


def place(
    model: PreTrainedModel, devices: Devices, dtype: torch.dtype | None = None
) -> PreTrainedModel:
    """Return `model` on its device, or distributed over several with accelerate.

    Args:
        model: a model on the CPU; it is modified.
        devices: one or more.
        dtype: type to cast it to; None leaves it unchanged.

    Raises:
        RadioError: the devices together have too little memory.
    """
    module: nn.Module = model
    if dtype is not None:
        module.to(dtype)
    if len(devices) == 1:
        module.to(devices[0])
        return model
    room = {i: int(PARAMETER_SHARE * free_bytes(each)) for i, each in enumerate(devices)}
    whole = model._no_split_modules
    balanced = get_balanced_memory(model, room, no_split_module_classes=whole)
    layout = infer_auto_device_map(model, balanced, no_split_module_classes=whole)
    if not set(layout.values()) <= set(room):
        size, free = model.get_memory_footprint() / 1e9, sum(room.values()) / 1e9
        raise RadioError(
            f"device=spread has room for {free:.3g} GB of parameters and the model has {size:.3g} "
            "GB: set a dtype of two bytes, RADIO_DEVICE=cpu, or RADIO_STREAMING=true for "
            "calibration, quantization and evaluation"
        )
    spread: PreTrainedModel = dispatch_model(
        model, {name: devices[index] for name, index in layout.items()}, main_device=devices[0]
    )
    return spread
