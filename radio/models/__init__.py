"""Checkpoints: where they come from, and which of their parts are compressed."""

from radio.models.blocks import copy_as, decoder_blocks, first_block_inputs
from radio.models.blockwise_backward import BlockwiseBackward
from radio.models.config import family_of
from radio.models.device_map import place
from radio.models.fetch import fetch_checkpoint
from radio.models.forward import Runnable, final_states, head_of
from radio.models.load import (
    decoder_linears,
    final_hidden,
    head,
    load_model,
    load_tokenizer,
)
from radio.models.scaling_groups import ScalingGroup, scaling_groups
from radio.models.spec import ModelSpec
from radio.models.streaming import StreamedModel

__all__ = [
    "BlockwiseBackward",
    "ModelSpec",
    "Runnable",
    "ScalingGroup",
    "StreamedModel",
    "copy_as",
    "decoder_blocks",
    "decoder_linears",
    "family_of",
    "fetch_checkpoint",
    "final_hidden",
    "final_states",
    "first_block_inputs",
    "head",
    "head_of",
    "load_model",
    "load_tokenizer",
    "place",
    "scaling_groups",
]
