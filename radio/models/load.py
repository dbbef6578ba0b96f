"""Load a checkpoint of a supported family, and name the parts of it that compression needs."""

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

# the module that holds the list of decoder blocks, by family
DECODER = {"opt": "model.decoder", "llama": "model"}


def load_model(path: Path, dtype: torch.dtype = torch.float32) -> PreTrainedModel:
    """Causal language model of directory `path`, in evaluation mode, on the CPU.

    Raises:
        RadioError: absent, corrupt or incomplete checkpoint, unsupported architecture, or a weight
            that is NaN or infinite.
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
    """Tokenizer of directory `path`.

    Raises:
        RadioError: there is none, or it is damaged.
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
    """Refuse a tensor with a NaN or an infinity, by its name."""
    # a sum is finite only where all values are, and takes a tenth of the time of looking at each
    if not weight.is_floating_point() or weight.sum().isfinite():
        return
    if bad := int((~torch.isfinite(weight)).sum()):
        raise RadioError(
            f"{path} has {bad} NaN or infinite values in {name}: fetch or make the checkpoint again"
        )


def skeleton(path: Path) -> PreTrainedModel:
    """The model of directory `path` on the meta device: names and shapes, no weights."""
    return empty_model(path, check_checkpoint(path))


def count_parameters(path: Path) -> int:
    """Number of parameters, tied ones once, from the configuration alone (no weights are read)."""
    return sum(parameter.numel() for parameter in skeleton(path).parameters())


def decoder_linears(model: PreTrainedModel) -> dict[str, nn.Linear]:
    """Every linear layer inside the decoder blocks by its full name, in order of execution.

    Embeddings, the head, and OPT-350M's projections beside the embedding are not among them.
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
    """What goes into the head: after the final norm, and after OPT-350M's output projection."""
    base: Any = model.base_model
    device: Any = model.get_input_embeddings().weight.device
    hidden: Tensor = base(input_ids=ids.to(device), use_cache=False).last_hidden_state
    return hidden


def head(model: PreTrainedModel) -> nn.Linear:
    """The layer from final hidden states to logits."""
    layer = model.get_output_embeddings()
    assert isinstance(layer, nn.Linear)
    return layer


def _corrupt(path: Path, reason: str) -> str:
    """Sentence for a checkpoint that cannot be read."""
    first_line = reason.splitlines()[0][:200] if reason else "no reason given"
    return (
        f"the checkpoint in {path} is corrupt or incomplete ({first_line}): fetch or make it again"
    )
