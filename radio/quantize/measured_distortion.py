"""Quantization error of every group of a model at each depth, measured instead of modelled."""

from collections.abc import Mapping

import torch
from transformers import PreTrainedModel

from radio.allocate.depths import Distortion
from radio.calibrate.statistics import LayerStatistics
from radio.models import decoder_linears
from radio.quantize.methods.base import LinearLayer, MixedDepthMethod
from radio.runtime.device import CPU, default_device, to_device
from radio.runtime.errors import RadioError
from radio.runtime.progress import progress
from radio.theory.codebook import Codebooks


def measure_distortion(
    model: PreTrainedModel,
    method: object,
    statistics: Mapping[str, LayerStatistics],
    codebooks: Codebooks | None = None,
    device: torch.device = CPU,
) -> Distortion:
    """Return the mean squared weight errors of groups at depths 0..8, [clusters, cols, 9] by layer.

    Each layer is on `device` while it is measured.

    Raises:
        RadioError: the method has no depths per group, or statistics belong to another model.
    """
    if not isinstance(method, MixedDepthMethod):
        raise RadioError(
            f"{type(method).__name__} has no error at each depth to measure: set method=radio"
        )
    linears = decoder_linears(model)
    if set(statistics) != set(linears):
        raise RadioError(
            "artifacts.statistics belongs to a model with other layers: make it for this model"
        )
    measured = {}
    for name, linear in progress(linears.items(), "distortion"):
        weight = linear.weight.detach().float()
        layer = LinearLayer(name, weight, statistics=statistics[name], codebooks=codebooks)
        with default_device(device):
            measured[name] = method.distortion(to_device(layer, device)).cpu()
    return measured
