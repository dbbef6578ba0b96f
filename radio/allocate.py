"""From calibration statistics and a rate to the depth of every group, without the model."""

from collections.abc import Mapping
from pathlib import Path

import torch
from jaxtyping import UInt8
from torch import Tensor

from radio.calibrate import LayerStatistics
from radio.runtime.errors import RadioError
from radio.runtime.files import load_tensors, save_tensors
from radio.theory.allocation import MAX_BITS, Allocation, allocate_bits
from radio.theory.grouping import cluster_sizes

Depths = dict[str, UInt8[Tensor, "clusters cols"]]


def allocate_layers(
    statistics: Mapping[str, LayerStatistics], rate_bits: float
) -> tuple[Depths, Allocation]:
    """Depths of all groups of all layers, [clusters, cols] by layer, for one mean rate.

    Raises:
        RadioError: `rate_bits` outside (0, 8].
    """
    if not 0 < rate_bits <= MAX_BITS:
        raise RadioError(
            f"rate_bits={rate_bits} is not a rate: "
            f"set a number above 0 and at most {MAX_BITS} bits a weight"
        )
    sensitivity = {name: entry.grad_var * entry.weight_var for name, entry in statistics.items()}
    numel = {
        name: cluster_sizes(statistics[name].cluster, len(s))[:, None].expand_as(s)
        for name, s in sensitivity.items()
    }
    allocation = allocate_bits(
        torch.cat([s.flatten() for s in sensitivity.values()]),
        torch.cat([n.flatten() for n in numel.values()]),
        rate_bits,
    )
    parts = allocation.depths.split([s.numel() for s in sensitivity.values()])
    depths = {
        name: part.view(s.shape).to(torch.uint8)
        for (name, s), part in zip(sensitivity.items(), parts, strict=True)
    }
    return depths, allocation


def save_depths(path: Path, depths: Depths) -> None:
    """Write the depths of all layers as one safetensors file."""
    save_tensors(path, depths, {"layers": list(depths)})


def load_depths(path: Path) -> Depths:
    """Read what `save_depths` wrote."""
    return load_tensors(path)[0]
