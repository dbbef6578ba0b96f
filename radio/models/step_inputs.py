"""Inputs of a step from the artifacts of earlier steps."""

from pathlib import Path

import torch
from omegaconf import DictConfig

from radio.models.weight_files import check_unchanged
from radio.rate import Target, requested_rate
from radio.runtime.artifacts import MADE_BY, read_manifest
from radio.runtime.dtypes import parse_dtype
from radio.runtime.errors import RadioError


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


def required_artifact(cfg: DictConfig, name: str) -> Path:
    """Return the path of an artifact that the step or its method requires, `~` expanded.

    Raises:
        RadioError: the path is not given.
    """
    path = optional_artifact(cfg, name)
    if path is None:
        makers = " or ".join(f"`radio {step}`" for step in MADE_BY[name])
        raise RadioError(
            f"artifacts.{name} is missing: make it with {makers} and give its path, or let "
            "snakemake do both"
        )
    return path


def optional_artifact(cfg: DictConfig, name: str) -> Path | None:
    """Return the path of an optional artifact, `~` expanded, or None."""
    path = cfg.artifacts.get(name)
    return None if path is None else Path(path).expanduser()


def asked(cfg: DictConfig) -> float | Target:
    """Return the requested mean depth or target; methods and the allocation check its range.

    Raises:
        RadioError: no rate or more than one is given, or it cannot be parsed.
    """
    return requested_rate(cfg.rate_bits, cfg.target)
