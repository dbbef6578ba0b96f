"""Quantize a model by one method at one rate, and write it packed."""

from pathlib import Path

import torch
from omegaconf import DictConfig

from radio.models import StreamedModel, load_model
from radio.models.step_inputs import checkpoint_path
from radio.pack.file import Size, assemble, save_quantized
from radio.pack.streamed import Parts, quantize_to_file
from radio.quantize.blockwise import MethodInputs, quantize_layers
from radio.quantize.method_inputs import load_method_inputs, method_and_rate
from radio.quantize.methods.base import Method
from radio.resources.load_within_memory import should_stream
from radio.resources.memory_estimate import FLOAT32_BYTES, quantization_bytes
from radio.resources.model_shape import Geometry
from radio.runtime.artifacts import required_artifact
from radio.runtime.device import devices
from radio.runtime.manifest import read_manifest, recorded
from radio.runtime.outputs import output_path
from radio.runtime.peak import read_bytes_per_s
from radio.runtime.state import job_key


def run(cfg: DictConfig) -> None:
    """Read `artifacts.model` and the inputs of the method; write the coded model to `out`.

    For a method that needs `inputs`, the model runs on `method.inputs.sequences` calibration
    sequences of `artifacts.tokens`, with activations of `method.inputs.dtype`.
    """
    out = output_path(cfg.out)
    with recorded("quantize", cfg, out) as (staged, measured):
        device = devices(cfg.device)[0]
        # first, while the process is small: its memory must not become the job's peak
        measured["peak_bytes_per_s"] = read_bytes_per_s(device)
        method, rate_bits = method_and_rate(cfg)
        method.check_rate(rate_bits)
        given = load_method_inputs(cfg)
        made = [required_artifact(cfg, name) for name in cfg.method.needs if name != "inputs"]
        upstream = [read_manifest(path) for path in made]
        checkpoint = checkpoint_path(cfg)
        parts = Parts(out.with_name(f"{out.name}.parts"), job_key("quantize", cfg))
        measured["streamed"] = should_stream(
            cfg, quantization_bytes(Geometry.of_checkpoint(checkpoint))
        )
        if measured["streamed"]:
            model = StreamedModel(checkpoint, torch.float32)
            size = quantize_to_file(model, method, rate_bits, given, staged, parts, device)
            measured["weights_read_bytes"] = model.weights_read_bytes
        else:
            size = _quantize_in_memory(checkpoint, method, rate_bits, given, staged, device)
        measured["method"] = cfg.method.name
        measured["settings"] = vars(method)
        measured["rate_bits"] = rate_bits
        measured["mean_depth"] = size.mean_depth()
        measured["bpw"] = size.bpw()
        measured["weights"] = size.weights
        # lower bound for any way to quantize: read float32 weights, write the result
        measured["moved_bytes"] = FLOAT32_BYTES * size.weights + size.own_bytes
        measured["upstream_wall_s"] = sum(
            manifest["wall_s"] + manifest["measured"].get("upstream_wall_s", 0)
            for manifest in upstream
        )
        for manifest in upstream:
            carried = ("pruned", "loss_validation")
            measured |= {k: v for k, v in manifest["measured"].items() if k in carried}
    parts.remove()


def _quantize_in_memory(
    checkpoint: Path,
    method: Method,
    rate_bits: float,
    given: MethodInputs,
    out: Path,
    device: torch.device,
) -> Size:
    model = load_model(checkpoint)
    quantized = assemble(model, quantize_layers(model, method, rate_bits, given, device))
    save_quantized(out, quantized)
    return quantized.size()
