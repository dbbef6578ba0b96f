"""Quantize a model by one method at one rate, and write it packed."""

from pathlib import Path

import torch
from hydra.utils import instantiate
from jaxtyping import Int
from omegaconf import DictConfig
from torch import Tensor

from radio.allocate import load_depths
from radio.calibrate import load_statistics
from radio.checkpoint import compress, save_quantized
from radio.data.tokens import load_token_blocks
from radio.models import load_model
from radio.quantize import quantize_layers
from radio.runtime.errors import RadioError
from radio.runtime.manifest import read_manifest, recorded
from radio.steps.inputs import checkpoint_path, needed, rate_bits

ACTIVATIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def run(cfg: DictConfig) -> None:
    """`artifacts.model` and what the method needs -> coded model at `out`.

    A method that needs `inputs` reads `artifacts.tokens`, of which its `inputs.sequences` first
    calibration blocks go through the model with activations of `inputs.dtype`.
    """
    out = Path(cfg.out)
    with recorded("quantize", cfg, out) as measured:
        method = instantiate(cfg.method.quantizer)
        rate = rate_bits(cfg)
        method.check_rate(rate)
        made = {name: needed(cfg, name) for name in cfg.method.needs if name != "inputs"}
        statistics = load_statistics(made["statistics"]) if "statistics" in made else {}
        depths = load_depths(made["allocation"]) if "allocation" in made else {}
        blocks, dtype = None, torch.float32
        if "inputs" in cfg.method.needs:
            blocks, dtype = _calibration_text(cfg)
        model = load_model(checkpoint_path(cfg))
        layers = quantize_layers(model, method, rate, statistics, depths, blocks, dtype)
        quantized = compress(model, layers)
        save_quantized(out, quantized)
        measured["method"] = cfg.method.name
        measured["rate_bits"] = rate
        measured["bits_paper"] = quantized.bits_paper()
        measured["bits_true"] = quantized.bits_true()
        measured["weights"] = quantized.weights()
        measured["upstream_wall_s"] = sum(read_manifest(p)["wall_s"] for p in made.values())


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
    return blocks[:sequences], ACTIVATIONS[dtype]
