"""A tiny run of the loop: checkpoint, texts, settings."""

from pathlib import Path

import torch

from radio.models import load_model
from radio.paper_loop import Refined, Refinement
from radio.quantize.methods.radio import Radio
from radio.runtime.state import StateStore
from tests.tiny import state_in, tiny_llama, tiny_opt

LENGTH = 8
RATE_BITS = 3.0
WIDTH = 16
NARROW = {"num_hidden_layers": 1, "hidden_size": WIDTH, "num_attention_heads": 2}
# weights far larger than untrained ones, so that quantization moves the output well above rounding
CHECKPOINTS = {
    "llama": lambda path: tiny_llama(path, intermediate_size=32, initializer_range=0.3, **NARROW),
    "opt": lambda path: tiny_opt(
        path, ffn_dim=32, word_embed_proj_dim=WIDTH, init_std=0.3, **NARROW
    ),
}


def text(count: int, seed: int = 3) -> torch.Tensor:
    return torch.randint(2, 300, (count, LENGTH), generator=torch.Generator().manual_seed(seed))


def refinement(**changed) -> Refinement:
    settings = {
        "group_rows": 8,
        "sequences": 4,
        "batch": 2,
        "iterations": 4,
        "gradients": "pca",
        "tokens": 3,
        "pca_width": 1024,
        "decay": 0.9,
        "follow_author_code": False,
        "validate_every": 2,
        "dtype": "float32",
        "solver": "ascent",
        "draft": Radio(scale_fit="moments"),
        "final": Radio(),
    }
    return Refinement(**{**settings, **changed})


def run(checkpoint: Path, store: StateStore | None = None, **changed) -> Refined:
    """Run the loop on fresh text; `blocks`, `validation`, `rate_bits`, `seed` may be given too."""
    inputs = {"blocks": text(4), "validation": text(3, seed=4), "rate_bits": RATE_BITS, "seed": 0}
    inputs |= {name: changed.pop(name) for name in list(changed) if name in inputs}
    store = store or state_in(checkpoint.parent)
    return refinement(**changed).run(load_model(checkpoint), store=store, **inputs)
