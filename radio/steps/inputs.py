"""What a step reads of the artifacts that earlier steps left."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Int
from omegaconf import DictConfig
from torch import Tensor

from radio.allocate import Depths, allocate_layers, load_depths, load_distortion
from radio.calibrate import drawn, load_statistics
from radio.codebook import load_codebooks
from radio.data.tokens import load_token_blocks
from radio.quantize import Given
from radio.rates import Target, asked_rate
from radio.runtime.errors import RadioError
from radio.runtime.manifest import read_manifest
from radio.theory.allocation import Allocation

ACTIVATIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def checkpoint_path(cfg: DictConfig) -> Path:
    """Directory of the checkpoint that `radio prepare` recorded in `artifacts.model`."""
    return Path(read_manifest(Path(cfg.artifacts.model))["measured"]["path"])


def needed(cfg: DictConfig, name: str) -> Path:
    """Path of an artifact that the method needs.

    Raises:
        RadioError: it was not given.
    """
    path = given(cfg, name)
    if path is None:
        raise RadioError(
            f"artifacts.{name} is missing and method={cfg.method.name} needs it: "
            "make it by an earlier step and give its path, or let snakemake do both"
        )
    return path


def given(cfg: DictConfig, name: str) -> Path | None:
    """Path of an artifact that a step can do without, or None."""
    path = cfg.artifacts.get(name)
    return None if path is None else Path(path)


def asked(cfg: DictConfig) -> float | Target:
    """The mean depth or the target that was asked for; methods and the allocation check its range.

    Raises:
        RadioError: nothing, or more than one thing, or something that cannot be read.
    """
    return asked_rate(cfg.rate_bits, cfg.target)


def nominal_bits(cfg: DictConfig) -> float:
    """The mean depth of a quantization: as asked, or what the allocation made of a target.

    Raises:
        RadioError: a target for a method without an allocation.
    """
    rate = asked(cfg)
    if not isinstance(rate, Target):
        return rate
    if "allocation" not in cfg.method.needs:
        raise RadioError(
            f"target.{rate} does not suit method={cfg.method.name}, which allocates no depths: "
            "set rate_bits, or take method=radio"
        )
    return float(read_manifest(needed(cfg, "allocation"))["measured"]["bits_paper"])


def solver(cfg: DictConfig) -> Callable[[float], tuple[Depths, Allocation]]:
    """Depths at any mean rate, by the method's solver, from the statistics that are given."""
    statistics = load_statistics(needed(cfg, "statistics"))
    distortion = load_distortion(needed(cfg, "distortion")) if cfg.method.get("measured") else None
    return partial(allocate_layers, statistics, solver=cfg.method.solver, distortion=distortion)


def given_to_method(cfg: DictConfig, probing: bool = False) -> Given:
    """The artifacts that the method `needs`, loaded; depths not when the step solves for its own.

    Raises:
        RadioError: one was not given, or the calibration text is too short for `method.inputs`.
    """
    needs = set(cfg.method.needs) - ({"allocation"} if probing else set())
    found: dict[str, Any] = {}
    if "statistics" in needs:
        found["statistics"] = load_statistics(needed(cfg, "statistics"))
    if "allocation" in needs:
        found["depths"] = load_depths(needed(cfg, "allocation"))
    if "codebook" in needs:
        found["codebooks"] = load_codebooks(needed(cfg, "codebook"))
    if "inputs" in needs:
        found["blocks"], found["dtype"] = _calibration_text(cfg)
    return Given(**found)


def _calibration_text(cfg: DictConfig) -> tuple[Int[Tensor, "sequences length"], torch.dtype]:
    """Token ids that a method that needs `inputs` asks for, and the dtype of activations.

    Raises:
        RadioError: the method's YAML does not say how many and in which dtype, or the text is
            too short.
    """
    settings = cfg.method.get("inputs") or {}
    sequences, dtype = settings.get("sequences"), settings.get("dtype")
    if not isinstance(sequences, int) or sequences < 1 or dtype not in ACTIVATIONS:
        raise RadioError(
            f"method.inputs={settings} does not fit method={cfg.method.name}, which needs inputs: "
            f"set sequences to 1 or more and dtype to {' or '.join(ACTIVATIONS)}"
        )
    blocks = load_token_blocks(needed(cfg, "tokens"), "calibration").ids
    if len(blocks) < sequences:
        raise RadioError(
            f"method.inputs.sequences={sequences} exceeds the {len(blocks)} blocks of the "
            "calibration text: lower it or give more text"
        )
    return drawn(blocks, sequences, cfg.seed), ACTIVATIONS[dtype]
