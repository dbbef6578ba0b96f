"""Miniature models with random weights, to run the workflow's graph in no time."""

import logging
from pathlib import Path

import torch
from transformers import AutoConfig, AutoModelForCausalLM

from radio.models.spec import RandomSource
from radio.models.tokenizer import train_tokenizer
from radio.models.training_run import publish
from radio.runtime.errors import RadioError

log = logging.getLogger(__name__)

# the pad and end tokens of the tokenizer
PAD_ID, END_ID = 0, 1


def make_random_model(source: RandomSource, family: str, out: Path) -> None:
    """Leave a model of `family` with random weights in `out`, with a tokenizer of bytes.

    Norms and biases are random too, so that none is the identity.

    Raises:
        RadioError: the settings are not those of a model of the family.
    """
    tokenizer = train_tokenizer([], 0)
    tokens = {"pad_token_id": PAD_ID, "bos_token_id": END_ID, "eos_token_id": END_ID}
    torch.manual_seed(source.seed)
    try:
        config = AutoConfig.for_model(
            family, **{"vocab_size": len(tokenizer), **tokens, **source.settings}
        )
        model = AutoModelForCausalLM.from_config(config)
    except (TypeError, ValueError, RuntimeError) as error:
        raise RadioError(
            f"model.source.settings={source.settings} make no {family} model ({error}): "
            "correct them"
        ) from error
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 1:
                parameter += 0.05 * torch.randn_like(parameter)
    publish(model, tokenizer, out, {"seed": source.seed})
