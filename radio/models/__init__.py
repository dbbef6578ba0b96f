"""Checkpoints: where they come from, and the parts of them that are compressed."""

from radio.models.load import (
    decoder_linears,
    family_of,
    final_hidden,
    head,
    load_model,
    load_tokenizer,
)
from radio.models.locate import locate
from radio.models.spec import ModelSpec

__all__ = [
    "ModelSpec",
    "decoder_linears",
    "family_of",
    "final_hidden",
    "head",
    "load_model",
    "load_tokenizer",
    "locate",
]
