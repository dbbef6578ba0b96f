"""Load a checkpoint of a supported family; list the parts that are compressed."""

import logging
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from radio.models.check import check_checkpoint
from radio.models.config import empty_model
from radio.models.stored import weight_files
from radio.runtime.errors import RadioError
from radio.runtime.exhausted import exhausted

log = logging.getLogger(__name__)

# module that holds the list of decoder blocks, by family
DECODER = {"opt": "model.decoder", "llama": "model"}


def load_model(path: Path, dtype: torch.dtype = torch.float32) -> PreTrainedModel:
    """Return the causal language model in directory `path`, in evaluation mode, on the CPU.

    Raises:
        RadioError: the checkpoint is absent, corrupt or incomplete, its architecture is
            unsupported, or a weight is NaN or infinite.
    """
    config = check_checkpoint(path)
    try:
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            path,
            config=config,
            dtype=dtype,
            output_loading_info=True,
            local_files_only=True,
            trust_remote_code=False,
        )
    except Exception as error:  # safetensors, pickle, zip and shape errors share no base class
        size_bytes = sum(file.stat().st_size for file in weight_files(path))
        if full := exhausted(error, f"loading the model in {path}", size_bytes):
            raise full from error
        raise RadioError(_corrupt(path, str(error))) from error
    model, loading = loaded
    lost = [str(name) for name in (*loading["missing_keys"], *loading["mismatched_keys"])]
    if lost:
        raise RadioError(_corrupt(path, f"no usable values for {sorted(lost)[0]}"))
    for name, parameter in model.named_parameters():
        check_finite(name, parameter, path)
    assert isinstance(model, PreTrainedModel)
    return model.eval()


def load_tokenizer(path: Path) -> PreTrainedTokenizerBase:
    """Return the tokenizer in directory `path`.

    Raises:
        RadioError: it is absent or damaged.
    """
    try:
        tokenizer = AutoTokenizer.from_pretrained(
            path, local_files_only=True, trust_remote_code=False
        )
    except Exception as error:  # the tokenizers library raises plain Exception
        if full := exhausted(error, f"reading the tokenizer in {path}", None):
            raise full from error
        if "custom code" in str(error):
            raise RadioError(
                f"the checkpoint needs its own code ({path}, auto_map in tokenizer_config.json), "
                "which is never run here: give a checkpoint with a tokenizer.json"
            ) from error
        raise RadioError(_corrupt(path, f"its tokenizer: {error}")) from error
    assert isinstance(tokenizer, PreTrainedTokenizerBase)
    return tokenizer


def check_finite(name: str, weight: Tensor, path: Path) -> None:
    """Refuse a tensor with NaN or infinite values; the error names it."""
    # a sum is finite only if all values are, and takes a tenth of the time of testing each
    if not weight.is_floating_point() or weight.sum().isfinite():
        return
    if bad := int((~torch.isfinite(weight)).sum()):
        raise RadioError(
            f"{path} has {bad} NaN or infinite values in {name}: fetch or make the checkpoint again"
        )


def skeleton(path: Path) -> PreTrainedModel:
    """Return the model in directory `path` on the meta device: names and shapes, no weights."""
    return empty_model(path, check_checkpoint(path))


def count_parameters(path: Path) -> int:
    """Return the number of parameters, tied ones once; reads the configuration, not the weights."""
    return sum(parameter.numel() for parameter in skeleton(path).parameters())


def decoder_linears(model: PreTrainedModel) -> dict[str, nn.Linear]:
    """Return all linear layers of the decoder blocks by full name, in order of execution.

    Embeddings, the head and OPT-350M's projections next to the embeddings are excluded.
    """
    decoder = DECODER[model.config.model_type]
    blocks = model.get_submodule(f"{decoder}.layers")
    return {
        f"{decoder}.layers.{name}": module
        for name, module in blocks.named_modules()
        if isinstance(module, nn.Linear)
    }


def final_hidden(
    model: PreTrainedModel, ids: Int[Tensor, "batch length"]
) -> Float[Tensor, "batch length width"]:
    """Return the inputs of the head: after the final norm and OPT-350M's output projection."""
    base: Any = model.base_model
    device: Any = model.get_input_embeddings().weight.device
    hidden: Tensor = base(input_ids=ids.to(device), use_cache=False).last_hidden_state
    return hidden


def head(model: PreTrainedModel) -> nn.Linear:
    """Return the layer that maps final hidden states to logits."""
    layer = model.get_output_embeddings()
    assert isinstance(layer, nn.Linear)
    return layer


def _corrupt(path: Path, reason: str) -> str:
    """Return the message for a checkpoint that cannot be read."""
    first_line = reason.splitlines()[0][:200] if reason else "no reason given"
    return (
        f"the checkpoint in {path} is corrupt or incomplete ({first_line}): fetch or make it again"
    )
