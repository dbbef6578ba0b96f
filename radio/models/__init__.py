"""Checkpoints: where they come from, and the parts of them that are compressed."""

from radio.models.blocks import copy_in, decoder_blocks, first_block_inputs
from radio.models.config import family_of
from radio.models.scaling_groups import Fold, folds
from radio.models.load import (
    decoder_linears,
    final_hidden,
    head,
    load_model,
    load_tokenizer,
)
from radio.models.fetch import locate
from radio.models.device_map import place
from radio.models.blockwise_backward import Recomputing
from radio.models.forward import Runnable, final_states, head_of
from radio.models.spec import ModelSpec
from radio.models.streaming import StreamedModel

__all__ = [
    "Fold",
    "ModelSpec",
    "Recomputing",
    "Runnable",
    "StreamedModel",
    "copy_in",
    "decoder_blocks",
    "decoder_linears",
    "family_of",
    "final_hidden",
    "final_states",
    "first_block_inputs",
    "folds",
    "head",
    "head_of",
    "load_model",
    "load_tokenizer",
    "locate",
    "place",
]
