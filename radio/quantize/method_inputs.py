"""Inputs of a method's steps: the method, its rate, and the artifacts that it `needs`."""

from typing import Any

import torch
from jaxtyping import Int
from omegaconf import DictConfig
from torch import Tensor

from radio.allocate.depths import load_depths
from radio.calibrate.statistics import load_statistics
from radio.data.tokens import load_token_sequences, sample_sequences
from radio.models import decoder_linears
from radio.models.load import skeleton
from radio.models.step_inputs import checkpoint_path
from radio.quantize.blockwise import MethodInputs
from radio.quantize.codebooks import load_codebooks
from radio.quantize.methods.base import BitsSolvableMethod, Method
from radio.rate import Target, asked
from radio.runtime.artifacts import required_artifact
from radio.runtime.build import build
from radio.runtime.dtypes import parse_dtype
from radio.runtime.errors import RadioError
from radio.runtime.manifest import read_manifest


def method_and_rate(cfg: DictConfig) -> tuple[Method, float]:
    """Return the method, set to the requested rate, and its mean depth in bits per weight.

    The allocation turns a target into depths; a `BitsSolvableMethod` turns it into settings.

    Raises:
        RadioError: the method cannot meet the target, or only by changing a given setting.
    """
    method, rate = build(cfg.method.quantizer, "method.quantizer", Method), asked(cfg)
    if not isinstance(rate, Target):
        return method, rate
    if "allocation" in cfg.method.needs:
        return method, read_manifest(required_artifact(cfg, "allocation"))["measured"]["mean_depth"]
    if not isinstance(method, BitsSolvableMethod):
        raise RadioError(
            f"target.{rate} does not suit method={cfg.method.name}, which allocates no depths: "
            "set rate_bits, or take method=radio"
        )
    if rate.kind != "bpw":
        raise RadioError(
            f"target.{rate} does not suit method={cfg.method.name}, whose settings are solved for "
            "true bits alone: set target.bpw, or take method=radio"
        )
    linears = decoder_linears(skeleton(checkpoint_path(cfg))).values()
    shapes = [(linear.out_features, linear.in_features) for linear in linears]
    solved, rate_bits = method.solve_for_bits(rate.amount, shapes)
    for key, given in vars(method).items():
        if given is not None and vars(solved)[key] != given:
            raise RadioError(
                f"target.{rate} is met by method.quantizer.{key}={vars(solved)[key]}, and "
                f"method={cfg.method.name} has {key}={given}: set "
                f"method.quantizer.{key}=null, or rate_bits"
            )
    return solved, rate_bits


def load_method_inputs(cfg: DictConfig, probing: bool = False) -> MethodInputs:
    """Load the artifacts that the method `needs`; without depths if `probing` solves for them.

    Raises:
        RadioError: an artifact is missing, or the calibration text is too short for
            `method.inputs`.
    """
    needs = set(cfg.method.needs) - ({"allocation"} if probing else set())
    found: dict[str, Any] = {}
    if "statistics" in needs:
        found["statistics"] = load_statistics(required_artifact(cfg, "statistics"))
    if "allocation" in needs:
        found["depths"] = load_depths(required_artifact(cfg, "allocation"))
    if "codebook" in needs:
        found["codebooks"] = load_codebooks(required_artifact(cfg, "codebook"))
    if "inputs" in needs:
        found["blocks"], found["dtype"] = _calibration_text(cfg)
    return MethodInputs(**found)


def _calibration_text(cfg: DictConfig) -> tuple[Int[Tensor, "sequences length"], torch.dtype]:
    """Return the token ids for a method that needs `inputs`, and the dtype of activations.

    Raises:
        RadioError: `method.inputs` is null, or the text is too short.
    """
    settings = cfg.method.get("inputs")
    if settings is None:
        raise RadioError(
            f"method.inputs=null does not suit method={cfg.method.name}, which needs inputs: set "
            "method.inputs={sequences: 64, dtype: bfloat16}"
        )
    sequences = settings.sequences
    blocks = load_token_sequences(required_artifact(cfg, "tokens"), "calibration").ids
    if len(blocks) < sequences:
        raise RadioError(
            f"method.inputs.sequences={sequences} exceeds the {len(blocks)} blocks of the "
            "calibration text: lower it or give more text"
        )
    return sample_sequences(blocks, sequences, cfg.seed), parse_dtype(
        "method.inputs.dtype", settings.dtype
    )
