"""What a method's steps read: the rate, the solver, and all that the method `needs`."""

from typing import Any

import torch
from jaxtyping import Int
from omegaconf import DictConfig
from torch import Tensor

from radio.codebook import load_codebooks
from radio.data.tokens import drawn, load_token_blocks
from radio.depths import load_depths
from radio.quantize import Given
from radio.rates import Target
from radio.runtime.errors import RadioError
from radio.runtime.manifest import read_manifest
from radio.statistics import load_statistics
from radio.steps.inputs import asked, needed

ACTIVATIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16}


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
