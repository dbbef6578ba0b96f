"""Random weights: miniature models to test the workflow, or the shape of a large model.

Weights are written block by block, so a model of any size needs the memory of one block.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from radio.models.blocks import decoder_blocks
from radio.models.spec import RandomSource
from radio.models.train_state import RECEIPT, check_own
from radio.models.train_tokenizer import train_tokenizer
from radio.runtime.errors import RadioError
from radio.runtime.files import atomic, write_json
from radio.runtime.progress import progress

# pad and end tokens of the tokenizer
PAD_ID, END_ID = 0, 1
# vocabulary of a tokenizer that was trained on no text
BYTE_TOKENS = 258
# standard deviation of norms and biases around their default values
VECTOR = 0.05
INDEX = "model.safetensors.index.json"


def make_random_model(source: RandomSource, family: str, out: Path) -> None:
    """Write a model of `family` with random weights and a byte-level tokenizer to `out`.

    Norms and biases are random too, so that none is the identity. Each block has a shard, and the
    remaining parameters have one, in the settings' `dtype` or float16.

    Raises:
        RadioError: the settings are not valid for a model of the family.
    """
    check_own(out)
    tokenizer = train_tokenizer([], 0)
    try:
        config = AutoConfig.for_model(family, **configuration(source))
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(config, trust_remote_code=False)
    except (TypeError, ValueError, RuntimeError) as error:
        raise RadioError(
            f"model.source.settings={source.settings} make no {family} model ({error}): "
            "correct them"
        ) from error
    shards = list(_shards(model))
    deviation = config.init_std if family == "opt" else config.initializer_range
    with atomic(out) as scratch:
        scratch.mkdir()
        places: dict[str, str] = {}
        for index, names in enumerate(progress(shards, "random weights")):
            file = f"model-{index + 1:05}-of-{len(shards):05}.safetensors"
            generator = torch.Generator().manual_seed(source.seed * 1_000_003 + index)
            stored = {
                name: _drawn(name, shape, deviation, generator).to(config.dtype)
                for name, shape in names.items()
            }
            save_file(stored, scratch / file, metadata={"format": "pt"})
            places |= dict.fromkeys(names, file)
        write_json(scratch / INDEX, {"metadata": {}, "weight_map": places})
        config.architectures = [type(model).__name__]
        config.save_pretrained(scratch)
        tokenizer.save_pretrained(scratch)
        write_json(scratch / RECEIPT, {"seed": source.seed})


def configuration(source: RandomSource) -> dict[str, Any]:
    """Return the model's configuration: the given settings, completed by defaults."""
    tokens = {"pad_token_id": PAD_ID, "bos_token_id": END_ID, "eos_token_id": END_ID}
    return {"vocab_size": BYTE_TOKENS, "dtype": "float16", **tokens, **source.settings}


def _shards(model: PreTrainedModel) -> Iterator[dict[str, torch.Size]]:
    """Yield shapes of parameters by name: those outside the blocks, then those of each block."""
    blocks = decoder_blocks(model)
    shapes = {name: parameter.shape for name, parameter in model.named_parameters()}
    inside = {
        prefix: {name: shapes[name] for name in shapes if name.startswith(f"{prefix}.")}
        for prefix in blocks
    }
    within = set().union(*inside.values())
    yield {name: shapes[name] for name in shapes if name not in within}
    yield from inside.values()


def _drawn(name: str, shape: torch.Size, deviation: float, generator: torch.Generator) -> Tensor:
    """Return a random matrix with that deviation, a bias around 0, or a norm's weight around 1."""
    noise = torch.randn(shape, generator=generator)
    if len(shape) > 1:
        return deviation * noise
    return VECTOR * noise + (1.0 if name.endswith("weight") else 0.0)
