"""Inputs of a step from the artifacts of earlier steps."""

from pathlib import Path

import torch
from omegaconf import DictConfig

from radio.models.weight_files import check_unchanged
from radio.runtime.artifacts import read_manifest, required_artifact
from radio.runtime.dtypes import parse_dtype


def checkpoint_path(cfg: DictConfig) -> Path:
    """Return the directory of the checkpoint that `radio prepare` recorded in `artifacts.model`.

    Raises:
        RadioError: its weights have changed since.
    """
    measured = read_manifest(required_artifact(cfg, "model"))["measured"]
    path = Path(measured["path"])
    check_unchanged(path, measured.get("sha256"))
    return path


def evaluated_in(cfg: DictConfig) -> torch.dtype:
    """Return the type that an evaluated model computes in; losses are always float32.

    Raises:
        RadioError: `dtype` is unknown.
    """
    return parse_dtype("dtype", cfg.dtype)


def protocol_of(cfg: DictConfig, text: str) -> str:
    """Return the label for comparing perplexities: the text's, plus `dtype` if it rounds."""
    return text if cfg.dtype == "float32" else f"{text}/{cfg.dtype}"
