"""From the CPU, where checkpoints are read and weights are installed, to where a model is run."""

import torch
from accelerate import dispatch_model, infer_auto_device_map
from accelerate.utils import get_balanced_memory
from torch import nn
from transformers import PreTrainedModel

from radio.runtime.device import Devices, free_bytes
from radio.runtime.errors import RadioError

# of a GPU's free memory, what parameters may take; the rest is for activations
PARAMETER_SHARE = 0.8


def place(
    model: PreTrainedModel, devices: Devices, dtype: torch.dtype | None = None
) -> PreTrainedModel:
    """`model` on its device, or its blocks on several in turn, between which accelerate moves data.

    Args:
        model: on the CPU; it is changed.
        devices: one or more.
        dtype: what it is cast to; None leaves it as it is.

    Raises:
        RadioError: the devices have no room for all of it together.
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
