"""Read a checkpoint's config.json, check every value, and run none of the checkpoint's code."""

import dataclasses
import json
import logging
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedConfig, PreTrainedModel
from transformers.activations import ACT2FN

from radio.models.spec import FAMILIES
from radio.runtime.errors import RadioError
from radio.runtime.exhausted import exhausted

log = logging.getLogger(__name__)

CONFIG = "config.json"
# attention of torch and transformers; other names are code that is downloaded from a hub
ATTENTION = (None, "eager", "sdpa")
ATTENTION_KEYS = ("attn_implementation", "_attn_implementation")
# names a weight file that transformers would load instead of the usual ones
WEIGHTS_KEY = "transformers_weights"
ACTIVATIONS = ("hidden_act", "activation_function")
# keys that mark weights as quantized
QUANTIZED_KEYS = ("quantization_config", "compression_config")
# fields of every configuration; the others, of a family's own class, are its architecture
COMMON_FIELDS = {field.name for field in dataclasses.fields(PreTrainedConfig)}
# used by tokenizers or trainers, or unused: any integer is accepted
FREE_FIELDS = ("pretraining_tp",)


def read_json_config(path: Path) -> dict[str, Any]:
    """Return config.json of the checkpoint in directory `path` as written.

    Raises:
        RadioError: the file is absent, or is not a JSON object with finite numbers.
    """
    file = path / CONFIG
    if not file.is_file():
        if any(path.glob("*.gguf")):
            raise quantized_already(path, "it holds GGUF files")
        raise RadioError(f"{path} is not a checkpoint directory: it has no config.json")
    try:
        content = json.loads(file.read_text(encoding="utf-8-sig"), parse_constant=_refuse_constant)
    except (OSError, ValueError, RecursionError) as error:
        raise RadioError(f"{file} is corrupt ({error!r}): fetch the checkpoint again") from error
    if not isinstance(content, dict):
        raise RadioError(f"{file} is corrupt (no JSON object): fetch the checkpoint again")
    return content


def family_of(path: Path) -> str:
    """Return the family ("opt" or "llama") of the checkpoint in directory `path`.

    Raises:
        RadioError: there is no checkpoint, its config.json is damaged, or its family is
            unsupported.
    """
    content = read_json_config(path)
    if "model_type" not in content:
        raise RadioError(f"{path / CONFIG} is corrupt (no model_type): fetch the checkpoint again")
    family = content["model_type"]
    if family not in FAMILIES and content.get("auto_map"):
        raise RadioError(
            f"the checkpoint needs its own code (auto_map in {path / CONFIG}), which is never run "
            f"here: choose a checkpoint of {' or '.join(FAMILIES)}"
        )
    if family not in FAMILIES:
        raise RadioError(
            f"{path} is a {family!r} model: choose a checkpoint of {' or '.join(FAMILIES)}"
        )
    return str(family)


def read_config(path: Path) -> PreTrainedConfig:
    """Return the configuration of the checkpoint in directory `path`, with each value checked.

    Raises:
        RadioError: it is absent or damaged, its family is unsupported, or a value is invalid; the
            message names the file and the key.
    """
    family_of(path)
    content = read_json_config(path)
    for key in ATTENTION_KEYS:
        if content.get(key) not in ATTENTION:
            raise _wrong(path, key, content[key], "it must be eager or sdpa")
    if content.get(WEIGHTS_KEY) is not None:
        raise _wrong(path, WEIGHTS_KEY, content[WEIGHTS_KEY], "other weight files are not read")
    try:
        config = AutoConfig.from_pretrained(path, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # value checks may raise anything
        if full := exhausted(error, f"reading {path / CONFIG}", None):
            raise full from error
        raise no_model(path, error) from error
    _check_values(path, config)
    # the caller decides how a model is called, not its checkpoint
    config.return_dict, config.output_hidden_states, config.output_attentions = True, False, False
    if content.get("auto_map"):
        log.warning(
            "%s names code of its own (auto_map), which is not run: the model is %s's of "
            "transformers",
            *(path / CONFIG, type(config).__name__),
        )
    return config


def refuse_quantized(path: Path) -> None:
    """Refuse a checkpoint whose configuration says that its weights are quantized.

    Raises:
        RadioError: the weights are quantized.
    """
    content = read_json_config(path)
    for key in QUANTIZED_KEYS:
        if content.get(key) is not None:
            settings = content[key]
            method = settings.get("quant_method") if isinstance(settings, dict) else settings
            raise quantized_already(path, f"{key} in its config.json names {method}")


def empty_model(path: Path, config: PreTrainedConfig) -> PreTrainedModel:
    """Return the model of a configuration on the meta device: names and shapes, no memory.

    Args:
        path: directory of the checkpoint, for messages.
        config: its configuration.

    Raises:
        RadioError: no model can be built from the configuration.
    """
    try:
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(config, trust_remote_code=False)
    except Exception as error:  # a layer's constructor may raise anything
        raise no_model(path, error) from error
    assert isinstance(model, PreTrainedModel)
    return model


def check_context(path: Path, length: int, key: str) -> None:
    """Refuse sequences that are longer than the model's maximum position.

    Args:
        path: directory of the checkpoint.
        length: tokens of a sequence.
        key: the setting with the length of the sequences.

    Raises:
        RadioError: the sequences are too long.
    """
    positions = getattr(read_config(path), "max_position_embeddings", None)
    if positions is not None and length > positions:
        raise RadioError(
            f"{key}={length} exceeds the {positions} positions of the model in {path} "
            f"(max_position_embeddings in its config.json): set {key}={positions} or less"
        )


def check_ids(path: Path, ids: Int[Tensor, "..."]) -> None:
    """Refuse token ids for which the model has no embedding.

    Raises:
        RadioError: there is such an id.
    """
    vocabulary, largest = read_config(path).vocab_size, int(ids.max())
    if largest >= vocabulary:
        raise RadioError(
            f"the tokenizer in {path} gives the id {largest}, and the model has embeddings for "
            f"{vocabulary} tokens (vocab_size in its config.json): give the tokenizer that the "
            "model was trained with, or a text without the tokens that were added to it"
        )


def _check_values(path: Path, config: PreTrainedConfig) -> None:
    """Refuse values of the right type that no model can have.

    Raises:
        RadioError: the first such value.
    """
    for field in dataclasses.fields(config):
        name, value = field.name, getattr(config, field.name)
        if name in COMMON_FIELDS or name in FREE_FIELDS or name.endswith("_token_id"):
            continue
        if isinstance(value, int) and not isinstance(value, bool):
            counts = "dropout" not in name and "layerdrop" not in name
            if counts and not 1 <= value < 2**31:
                raise _wrong(path, name, value, "it must be a whole number of at least 1")
        if name.endswith("eps") and not value >= 0:
            raise _wrong(path, name, value, "it must not be negative")
        if "drop" in name and value is not None and not 0 <= value <= 1:
            raise _wrong(path, name, value, "it must lie between 0 and 1")
        if name in ACTIVATIONS and value not in ACT2FN:
            raise _wrong(path, name, value, "transformers knows no such function")
    if not isinstance(config.dtype, torch.dtype | None) or (
        config.dtype is not None and not config.dtype.is_floating_point
    ):
        raise _wrong(path, "dtype", config.dtype, "it must name a floating-point type")
    heads, shared = config.num_attention_heads, getattr(config, "num_key_value_heads", None)
    if config.hidden_size % heads:
        raise _wrong(path, "num_attention_heads", heads, f"it must divide {config.hidden_size}")
    if shared is not None and heads % shared:
        raise _wrong(path, "num_key_value_heads", shared, f"it must divide {heads}")
    _check_architecture(path, config)


def _check_architecture(path: Path, config: PreTrainedConfig) -> None:
    """Refuse a checkpoint that was saved as a model other than a language model.

    Raises:
        RadioError: `architectures` is not a list of names, or contains names other than the
            family's language model and its decoder.
    """
    named = config.architectures
    if named is None or named == []:
        return
    if not isinstance(named, list) or not all(isinstance(each, str) for each in named):
        raise _wrong(path, "architectures", named, "it must be a list of names")
    model: Any = AutoModelForCausalLM._model_mapping[type(config)]
    known = {model.__name__, model.__name__.replace("ForCausalLM", "Model")}
    # the first Llama checkpoints say LLaMAForCausalLM
    if not {each.lower() for each in named} & {each.lower() for each in known}:
        raise _wrong(path, "architectures", named, f"it must name {model.__name__}")


def _refuse_constant(word: str) -> None:
    raise ValueError(f"{word} is not a finite number")


def _wrong(path: Path, key: str, value: Any, reason: str) -> RadioError:
    return RadioError(
        f"{path / CONFIG} has {key}={str(value)[:80]}: {reason}; correct it or fetch the "
        "checkpoint again"
    )


def no_model(path: Path, error: Exception) -> RadioError:
    """Return the error for a configuration that transformers cannot build a model from."""
    return RadioError(
        f"{path / CONFIG} describes no model ({type(error).__name__}: "
        f"{' '.join(str(error).split())[:200]}): correct it or fetch the checkpoint again"
    )


def quantized_already(path: Path, reason: str) -> RadioError:
    """Return the error for a checkpoint whose weights are codes."""
    return RadioError(
        f"the checkpoint in {path} is quantized already ({reason}): give the original checkpoint, "
        "whose weights are float32, float16 or bfloat16"
    )
