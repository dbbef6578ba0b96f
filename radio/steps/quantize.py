"""Quantize a model by one method at one rate, and write it packed."""

from pathlib import Path

from hydra.utils import instantiate
from omegaconf import DictConfig

from radio.allocate import load_depths
from radio.calibrate import load_statistics
from radio.checkpoint import compress, save_quantized
from radio.codebook import load_codebooks
from radio.models import load_model
from radio.quantize import quantize_layers
from radio.runtime.manifest import read_manifest, recorded
from radio.steps.inputs import checkpoint_path, given, needed, rate_bits


def run(cfg: DictConfig) -> None:
    """`artifacts.model` and what the method needs -> coded model at `out`."""
    out = Path(cfg.out)
    with recorded("quantize", cfg, out) as measured:
        method = instantiate(cfg.method.quantizer)
        rate = rate_bits(cfg)
        method.check_rate(rate)
        inputs = {name: needed(cfg, name) for name in cfg.method.needs}
        if codebook := given(cfg, "codebook"):
            inputs["codebook"] = codebook
        statistics = load_statistics(inputs["statistics"]) if "statistics" in inputs else {}
        depths = load_depths(inputs["allocation"]) if "allocation" in inputs else {}
        codebooks = load_codebooks(inputs["codebook"]) if "codebook" in inputs else None
        model = load_model(checkpoint_path(cfg))
        layers = quantize_layers(model, method, rate, statistics, depths, codebooks)
        quantized = compress(model, layers)
        save_quantized(out, quantized)
        measured["method"] = cfg.method.name
        measured["rate_bits"] = rate
        measured["bits_paper"] = quantized.bits_paper()
        measured["bits_true"] = quantized.bits_true()
        measured["weights"] = quantized.weights()
        measured["upstream_wall_s"] = sum(read_manifest(p)["wall_s"] for p in inputs.values())
