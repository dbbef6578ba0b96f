"""Quantize a model by one method at one rate, and write it packed."""

from pathlib import Path

from omegaconf import DictConfig

from radio.checkpoint import compress, save_quantized
from radio.models import load_model
from radio.quantize import quantize_layers
from radio.runtime.manifest import read_manifest, recorded
from radio.steps.inputs import checkpoint_path, needed
from radio.steps.method_inputs import given_to_method, method_and_rate


def run(cfg: DictConfig) -> None:
    """`artifacts.model` and what the method needs -> coded model at `out`.

    A method that needs `inputs` reads `artifacts.tokens`, of which `method.inputs.sequences`
    calibration blocks go through the model with activations of `method.inputs.dtype`.
    """
    out = Path(cfg.out)
    with recorded("quantize", cfg, out) as measured:
        method, rate_bits = method_and_rate(cfg)
        method.check_rate(rate_bits)
        given = given_to_method(cfg)
        model = load_model(checkpoint_path(cfg))
        quantized = compress(model, quantize_layers(model, method, rate_bits, given))
        save_quantized(out, quantized)
        made = [needed(cfg, name) for name in cfg.method.needs if name != "inputs"]
        upstream = [read_manifest(path) for path in made]
        measured["method"] = cfg.method.name
        measured["settings"] = vars(method)
        measured["rate_bits"] = rate_bits
        measured["bits_paper"] = quantized.bits_paper()
        measured["bits_true"] = quantized.bits_true()
        measured["weights"] = quantized.weights()
        measured["upstream_wall_s"] = sum(
            manifest["wall_s"] + manifest["measured"].get("upstream_wall_s", 0)
            for manifest in upstream
        )
        for manifest in upstream:
            carried = ("pruned", "loss_validation")
            measured |= {k: v for k, v in manifest["measured"].items() if k in carried}
