"""Levels learned from a sample of a model's weight groups, shared by all layers."""

from collections.abc import Mapping
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from radio.calibrate.statistics import LayerStatistics
from radio.runtime.device import CPU, default_device, to_device
from radio.runtime.errors import RadioError
from radio.runtime.tensors import load_tensors, save_tensors
from radio.theory.codebook import Codebooks, join, split
from radio.theory.codebook_learning import learn_codebooks

SAMPLED_GROUPS = 3000
# groups fitted at once: limits the candidates in memory
BATCH_GROUPS = 512


def fit_codebooks(
    weights: Mapping[str, Float[Tensor, "_rows _cols"]],
    statistics: Mapping[str, LayerStatistics],
    seed: int,
    device: torch.device = CPU,
) -> Codebooks:
    """Return levels of depths 0..8 of least squared error on a random sample of all groups.

    Args:
        weights: weights [rows, cols] by layer.
        statistics: calibration statistics by layer, with the row clusters.
        seed: seed of the sample.
        device: device of the fit.

    Raises:
        RadioError: statistics belong to another model, or no group has different weights.
    """
    if set(statistics) != set(weights):
        raise RadioError(
            "artifacts.statistics belongs to a model with other layers: make it for this model"
        )
    total = sum(statistics[name].grad_var.numel() for name in weights)
    sample = torch.randperm(total, generator=torch.Generator().manual_seed(seed))[:SAMPLED_GROUPS]
    sample = sample.sort().values
    by_numel: dict[int, list[Tensor]] = {}
    start = 0
    for name, weight in weights.items():
        cluster, (clusters, cols) = statistics[name].cluster, statistics[name].grad_var.shape
        inside = sample[(sample >= start) & (sample < start + clusters * cols)] - start
        start += clusters * cols
        for c in range(clusters):
            groups = weight[cluster == c][:, inside[inside // cols == c] % cols].T.float()
            by_numel.setdefault(groups.shape[1], []).append(groups.to(device))
    batches = [
        batch
        for parts in by_numel.values()
        for batch in torch.cat(parts).split(BATCH_GROUPS)
        if len(batch)
    ]
    try:
        with default_device(device):
            return to_device(learn_codebooks(batches), CPU)
    except ValueError as error:
        raise RadioError(f"no codebook can be learned ({error}): give another model") from error


def save_codebooks(path: Path, codebooks: Codebooks) -> None:
    """Write the levels of depths 1..8 as one safetensors file of 510 float16 numbers."""
    save_tensors(path, {"levels": join(codebooks)}, {})


def load_codebooks(path: Path) -> Codebooks:
    """Return the levels of depths 0..8 written by `save_codebooks`."""
    return split(load_tensors(path)[0]["levels"])
