"""Write model directories for transformers, atomically; only our own directories are replaced.

In addition to the model's files, `manifest.json` records how the model was made, and the bytes and
digest of every other file (`radio.pack.hf.integrity`). Its `size_bytes` is the size of all files,
including itself.
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
# measurements of the manifest that config.json repeats
REPEATED = ("method", "rate_bits", "mean_depth", "bpw")
# by architecture: flags of the config, and endings of the names of layers that get a bias by them
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
        out: path of the directory; an earlier model there is replaced.
        coded: file written by `save_quantized`.
        checkpoint: directory of the original model, for its configuration and tokenizer.
        manifest: manifest of `coded`.

    Raises:
        RadioError: `coded` is corrupt, or `out` has other content.
    """
    out = check_directory("quantize", out, MANIFEST, [coded, checkpoint])
    tensors, _ = load_coded(coded)
    config = check_checkpoint(checkpoint)
    config.dtype = config.dtype or torch.float16
    config.__dict__.pop(CODE, None)
    # the head may differ from the embedding even if config.json says that they are tied
    config.tie_word_embeddings = config.tie_word_embeddings and HEAD not in tensors
    repeated = {key: manifest["measured"][key] for key in REPEATED}
    config.quantization_config = {"quant_method": NAME, "format_version": FORMAT_VERSION} | repeated

    def fill(folder: Path) -> None:
        shutil.copyfile(coded, folder / MODEL)
        config.save_pretrained(folder)
        copy_tokenizer_files(checkpoint, folder)

    _write(out, fill, {**manifest, "step": "quantize", "artifact": MODEL})


def write_dense(out: Path, packed: Path, dtype: torch.dtype) -> None:
    """Decode the packed model in directory `packed` to a plain checkpoint in `dtype`.

    For biases that quantization added, the architecture's bias flags are set. Layers that get a
    bias only through a flag have zeros there.

    Raises:
        RadioError: `packed` is not an unchanged packed directory, or `out` has other content.
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
    """Return the standard architecture with decoded weights and the added biases."""
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
    """Let `fill` write the files of a directory, add the manifest, and move it to `out`."""
    with atomic(out) as folder:
        folder.mkdir()
        fill(folder)
        (folder / MANIFEST).write_text(_counted({**manifest, **digests(folder)}), encoding="utf-8")


def _counted(manifest: Mapping[str, Any]) -> str:
    """Return a manifest as JSON; its `size_bytes` includes its `files` and the JSON itself."""
    text = ""
    while True:
        size_bytes = sum(manifest["files"].values()) + len(text.encode())
        again = json.dumps({**manifest, "size_bytes": size_bytes}, indent=2) + "\n"
        if again == text:
            return text
        text = again
