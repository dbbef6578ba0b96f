"""Calibration statistics of each linear layer, and their file."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path

from jaxtyping import Float, Int
from torch import Tensor

from radio.runtime.tensors import load_tensors, save_tensors


@dataclass(frozen=True)
class LayerStatistics:
    """Calibration statistics of one linear layer [rows, cols], by group (cluster x column).

    Attributes:
        cluster: cluster index of each row.
        grad_var: G_n^2, squared derivative of one token's output (final hidden states, or a root of
            the divergence) with respect to a weight, summed over output coordinates and averaged
            over tokens and the group's weights.
        weight_var: S_n^2, mean squared deviation from the group's median.
        input_mean: E[x], mean input over all tokens.
    """

    cluster: Int[Tensor, " rows"]
    grad_var: Float[Tensor, "clusters cols"]
    weight_var: Float[Tensor, "clusters cols"]
    input_mean: Float[Tensor, " cols"]


def save_statistics(path: Path, statistics: Mapping[str, LayerStatistics]) -> None:
    """Write the statistics of all layers as one safetensors file."""
    save_tensors(path, tensors_of(statistics), {"layers": list(statistics)})


def load_statistics(path: Path) -> dict[str, LayerStatistics]:
    """Return the statistics written by `save_statistics`."""
    tensors, metadata = load_tensors(path)
    return statistics_of(tensors, metadata["layers"])


def tensors_of(statistics: Mapping[str, LayerStatistics]) -> dict[str, Tensor]:
    """Return all tensors of the statistics by "layer/field"."""
    return {
        f"{layer}/{field.name}": getattr(entry, field.name)
        for layer, entry in statistics.items()
        for field in fields(LayerStatistics)
    }


def statistics_of(
    tensors: Mapping[str, Tensor], layers: Iterable[str]
) -> dict[str, LayerStatistics]:
    """Return the statistics of `layers` from their tensors; inverse of `tensors_of`."""
    names = [field.name for field in fields(LayerStatistics)]
    return {
        layer: LayerStatistics(**{name: tensors[f"{layer}/{name}"] for name in names})
        for layer in layers
    }
