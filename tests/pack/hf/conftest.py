"""Packed directories of tiny models, and their models as `radio evaluate` has them."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
import torch

from radio.models import load_model
from radio.pack.file import QuantizedModel, install, load_quantized, save_quantized
from radio.pack.hf.directory import write_packed
from tests.pack.test_file import METHODS, quantized_by
from tests.tiny import tiny_llama, tiny_opt

MODELS = {
    "llama": (tiny_llama, {}),
    "llama-untied": (tiny_llama, {"tie_word_embeddings": False}),
    "opt": (tiny_opt, {}),
    "opt-projected": (tiny_opt, {"word_embed_proj_dim": 32}),
}
CASES = [
    *((model, method) for model in ("llama", "opt") for method in METHODS),
    ("llama-untied", "radio"),
    ("opt-projected", "radio"),
]


class Made(NamedTuple):
    """The original checkpoint, the quantized file, and the directory packed from them."""

    checkpoint: Path
    coded: Path
    packed: Path

    def installed(self, dtype: torch.dtype = torch.float32):
        """The model that `radio evaluate` measures."""
        return install(load_model(self.checkpoint, dtype), load_quantized(self.coded))


def pack(folder: Path, checkpoint: Path, quantized: QuantizedModel) -> Made:
    made = Made(checkpoint, folder / "q.safetensors", folder / "packed")
    save_quantized(made.coded, quantized)
    measured = {
        "method": "some",
        "rate_bits": 3,
        "mean_depth": quantized.mean_depth(),
        "bpw": quantized.bpw(),
    }
    write_packed(made.packed, made.coded, checkpoint, {"measured": measured, "size_bytes": 0})
    return made


@pytest.fixture(scope="session")
def make(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str], Made]:
    """Function that packs a model by a method, once."""
    done: dict[tuple[str, str], Made] = {}

    def made(model: str, method: str) -> Made:
        if (model, method) not in done:
            folder = tmp_path_factory.mktemp("made")
            tiny, overrides = MODELS[model]
            checkpoint = tiny(folder / "checkpoint", **overrides)
            quantized = quantized_by(load_model(checkpoint), method)
            done[model, method] = pack(folder, checkpoint, quantized)
        return done[model, method]

    return made
