"""Compare a checkpoint's config.json with its weights before anything is allocated."""

import copy
import logging
import re
from collections.abc import Mapping
from pathlib import Path

from accelerate import init_empty_weights
from transformers import (
    AutoModelForCausalLM,
    GenerationConfig,
    PreTrainedConfig,
    PreTrainedModel,
)

from radio.models.config import (
    CONFIG,
    empty_model,
    no_model,
    quantized_already,
    read_config,
    refuse_quantized,
)
from radio.models.stored import TORCH_NAME, Stored, stored_tensors
from radio.runtime.errors import RadioError

log = logging.getLogger(__name__)

GENERATION = "generation_config.json"
# a tensor of a decoder block; the group is the block's number
IN_BLOCK = re.compile(r"(?:^|\.)layers\.(\d+)\.")
# buffers that old versions of transformers stored; now computed from the configuration
COMPUTED = re.compile(r"rotary_emb\.inv_freq$|(^|\.)position_ids$|\.masked_bias$")


def check_checkpoint(path: Path) -> PreTrainedConfig:
    """Return the configuration of the checkpoint in `path` after checking that it fits the weights.

    Only config.json and the headers of the weight files are read: names, shapes and types. Nothing
    of the model's size is allocated, whatever config.json says.

    Raises:
        RadioError: a file is absent or damaged, weights are already quantized, a value of
            config.json is invalid, or a tensor is missing, superfluous inside a block, or has
            another shape than config.json implies.
    """
    refuse_quantized(path)
    config = read_config(path)
    stored = stored_tensors(path)
    _check_block_count(path, config, stored)
    model = empty_model(path, config)
    _check_tensors(path, model, stored)
    _check_buffers(path, config)
    _check_generation(path)
    return config


def stored_name(name: str, stored: Mapping[str, object], model: PreTrainedModel) -> str | None:
    """Return the name of a parameter in the files; None if it is not stored.

    Some files hold the decoder only, without the language model's prefix.
    """
    bare = name.removeprefix(f"{model.base_model_prefix}.")
    return next((each for each in (name, bare) if each in stored), None)


def _check_block_count(path: Path, config: PreTrainedConfig, stored: Mapping[str, Stored]) -> None:
    """Refuse a number of decoder blocks that differs from the weights, before any is created.

    Raises:
        RadioError: the numbers differ.
    """
    found = {int(match[1]) for name in stored if (match := IN_BLOCK.search(name))}
    count = max(found, default=-1) + 1
    if config.num_hidden_layers != count:
        raise RadioError(
            f"{path / CONFIG} has num_hidden_layers={config.num_hidden_layers}, and the weights "
            f"have {count} blocks: correct it or fetch the checkpoint again"
        )


def _check_tensors(path: Path, model: PreTrainedModel, stored: Mapping[str, Stored]) -> None:
    """Refuse tensors that are missing, have the wrong shape or type, or are unknown inside a block.

    Raises:
        RadioError: the first such tensor, by name.
    """
    tied = model.all_tied_weights_keys
    partners = {**tied, **{source: target for target, source in tied.items()}}
    shapes = {name: tuple(each.shape) for name, each in model.state_dict(keep_vars=True).items()}
    used = set()
    for name, shape in shapes.items():
        found = stored_name(name, stored, model)
        if found is None and name in partners:
            found = stored_name(partners[name], stored, model)
        if found is None:
            raise _missing(path, name, stored)
        used.add(found)
        _check_tensor(path, found, shape, stored[found])
    for name in sorted(stored.keys() - used):
        if COMPUTED.search(name):
            continue
        if IN_BLOCK.search(name):
            raise RadioError(
                f"{stored[name].file} has {name}, which the model of config.json has no place for: "
                "correct config.json or fetch the checkpoint again"
            )
        log.warning("%s has %s, which the model does not use", stored[name].file, name)


def _check_tensor(path: Path, name: str, shape: tuple[int, ...], found: Stored) -> None:
    if found.dtype not in TORCH_NAME.values():
        raise quantized_already(path, f"{name} is of type {found.dtype}")
    if found.shape != shape:
        raise RadioError(
            f"{path / CONFIG} gives {name} the shape {list(shape)}, and {found.file.name} has "
            f"{list(found.shape)}: correct config.json or fetch the checkpoint again"
        )


def _missing(path: Path, name: str, stored: Mapping[str, Stored]) -> RadioError:
    """Return the error for a parameter that is missing, or stored in another form."""
    module = name.rpartition(".")[0]
    # also by its name in a file that holds the decoder only
    begins = (f"{module}.", f"{module.partition('.')[2]}.")
    plain = (".weight", ".bias")
    forms = sorted(each for each in stored if each.startswith(begins) and not each.endswith(plain))
    if forms:
        return quantized_already(path, f"it has {forms[0]} in place of {name}")
    return RadioError(
        f"the checkpoint in {path} is corrupt or incomplete (no usable values for {name}): fetch "
        "or make it again"
    )


def _check_buffers(path: Path, config: PreTrainedConfig) -> None:
    """Refuse settings that give a non-finite buffer (the angles of positions).

    Raises:
        RadioError: a buffer has NaN or infinite values, or cannot be computed.
    """
    of_one_block = copy.deepcopy(config)
    of_one_block.num_hidden_layers = 1  # all blocks have the same buffers
    try:
        with init_empty_weights(include_buffers=False):
            model = AutoModelForCausalLM.from_config(of_one_block, trust_remote_code=False)
    except Exception as error:  # a layer's constructor may raise anything
        raise no_model(path, error) from error
    for name, buffer in model.named_buffers():
        if not buffer.isfinite().all():
            raise RadioError(
                f"{path / CONFIG} makes {name} NaN or infinite: correct its rope_parameters (or "
                "rope_scaling and rope_theta) or fetch the checkpoint again"
            )


def _check_generation(path: Path) -> None:
    """Refuse generation settings that transformers cannot load together with the model.

    Raises:
        RadioError: generation_config.json exists and is damaged.
    """
    if not (path / GENERATION).is_file():
        return
    try:
        GenerationConfig.from_pretrained(path, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # value checks may raise anything
        raise RadioError(
            f"{path / GENERATION} cannot be read ({type(error).__name__}: "
            f"{' '.join(str(error).split())[:200]}): correct it or remove it"
        ) from error
