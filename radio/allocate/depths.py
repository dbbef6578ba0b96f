"""Bit depths of all groups and their errors at every depth, by layer, and the files of both."""

from pathlib import Path

from jaxtyping import Float, UInt8
from torch import Tensor

from radio.runtime.tensors import load_tensors, save_tensors

Depths = dict[str, UInt8[Tensor, "clusters cols"]]
# mean squared weight errors of a layer's groups at depths 0..8
Distortion = dict[str, Float[Tensor, "_clusters _cols 9"]]


def save_depths(path: Path, depths: Depths) -> None:
    """Write the depths of all layers as one safetensors file."""
    save_tensors(path, depths, {"layers": list(depths)})


def load_depths(path: Path) -> Depths:
    """Return the depths written by `save_depths`."""
    return load_tensors(path)[0]


def save_distortion(path: Path, distortion: Distortion) -> None:
    """Write the measured errors of all layers as one safetensors file."""
    save_tensors(path, distortion, {"layers": list(distortion)})


def load_distortion(path: Path) -> Distortion:
    """Return the errors written by `save_distortion`."""
    return load_tensors(path)[0]
