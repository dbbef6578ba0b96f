"""Directories that hold a model for others, written whole or not at all, over nothing but our own.

Beside the model's own files, `manifest.json` says how the model was made, names every other file
with its bytes and its digest (`radio.pack.hf.integrity`), and counts them all, itself included, as
`size_bytes`.
"""

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import AutoModelForCausalLM, PreTrainedModel

from radio.models import decoder_linears
from radio.models.check import check_checkpoint
from radio.models.config import read_config
from radio.pack.file import FORMAT_VERSION, QuantizedModel, install, load_coded, load_quantized
from radio.pack.hf.integrity import MANIFEST, MODEL, digests, read_checked_manifest
from radio.pack.hf.quantizer import NAME
from radio.pack.hf.tokenizer_files import CODE, copy_tokenizer_files
from radio.runtime.files import atomic
from radio.runtime.outputs import check_directory

HEAD = "lm_head.weight"
# what config.json repeats of the manifest's measurements
TOLD = ("method", "rate_bits", "mean_depth", "bpw")
# the flag of an architecture's config that gives biases to layers whose names end so
BIASES: dict[str, dict[str, tuple[str, ...]]] = {
    "llama": {
        "attention_bias": ("q_proj", "k_proj", "v_proj", "o_proj"),
        "mlp_bias": ("gate_proj", "up_proj", "down_proj"),
    },
    "opt": {"enable_bias": ("q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2")},
}


def write_packed(out: Path, coded: Path, checkpoint: Path, manifest: Mapping[str, Any]) -> None:
    """Write the quantized file `coded` as a directory that `from_pretrained` loads.

    Args:
        out: the directory; one of an earlier model is replaced.
        coded: what `save_quantized` wrote.
        checkpoint: directory of the original model, for its configuration and tokenizer.
        manifest: of `coded`.

    Raises:
        RadioError: `coded` is corrupt, or `out` holds something else.
    """
    out = check_directory("quantize", out, MANIFEST, [coded, checkpoint])
    tensors, _ = load_coded(coded)
    config = check_checkpoint(checkpoint)
    config.dtype = config.dtype or torch.float16
    config.__dict__.pop(CODE, None)
    # a checkpoint may have another head than its embedding, whatever its config.json says
    config.tie_word_embeddings = config.tie_word_embeddings and HEAD not in tensors
    told = {key: manifest["measured"][key] for key in TOLD}
    config.quantization_config = {"quant_method": NAME, "format_version": FORMAT_VERSION} | told

    def fill(folder: Path) -> None:
        shutil.copyfile(coded, folder / MODEL)
        config.save_pretrained(folder)
        copy_tokenizer_files(checkpoint, folder)

    _write(out, fill, {**manifest, "step": "quantize", "artifact": MODEL})


def write_dense(out: Path, packed: Path, dtype: torch.dtype) -> None:
    """Decode the packed model in directory `packed` to a plain checkpoint in `dtype`.

    Biases that quantization added become the architecture's own, by the flags that it has for them;
    a layer that a flag gives a bias and quantization did not has zeros there.

    Raises:
        RadioError: `packed` is not a packed directory as it was written, or `out` holds something
            else.
    """
    out = check_directory("export", out, MANIFEST, [packed])
    manifest = read_checked_manifest(packed)
    quantized = load_quantized(packed / MODEL)
    model = _decoded(packed, quantized, dtype)

    def fill(folder: Path) -> None:
        model.save_pretrained(folder)
        copy_tokenizer_files(packed, folder)

    _write(out, fill, {**manifest, "step": "export", "artifact": MODEL})


def _decoded(packed: Path, quantized: QuantizedModel, dtype: torch.dtype) -> PreTrainedModel:
    """The stock architecture with decoded weights, and the biases that quantization added."""
    config = read_config(packed)
    del config.quantization_config
    biased = [name for name, layer in quantized.layers.items() if layer.bias is not None]
    given: tuple[str, ...] = ()
    for flag, endings in BIASES[config.model_type].items():
        needed = any(name.endswith(endings) for name in biased)
        setattr(config, flag, needed)
        given += endings if needed else ()
    empty = AutoModelForCausalLM.from_config(config, dtype=dtype, trust_remote_code=False)
    model = install(empty, quantized)
    for name, linear in decoder_linears(model).items():
        if "bias" not in dict(linear.named_parameters()) and name.endswith(given):
            linear.bias = nn.Parameter(torch.zeros(linear.out_features, dtype=dtype))
    return model


def _write(out: Path, fill: Callable[[Path], None], manifest: Mapping[str, Any]) -> None:
    """Let `fill` write the files of a directory, add the manifest, and give it its name."""
    with atomic(out) as folder:
        folder.mkdir()
        fill(folder)
        (folder / MANIFEST).write_text(_counted({**manifest, **digests(folder)}), encoding="utf-8")


def _counted(manifest: Mapping[str, Any]) -> str:
    """JSON of a manifest whose `size_bytes` counts its `files` and this JSON itself."""
    text = ""
    while True:
        size_bytes = sum(manifest["files"].values()) + len(text.encode())
        again = json.dumps({**manifest, "size_bytes": size_bytes}, indent=2) + "\n"
        if again == text:
            return text
        text = again
