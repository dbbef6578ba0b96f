"""A training run on disk: its state between two steps, and the checkpoint it ends in."""

import dataclasses
import hashlib
import json
import logging
import math
import pickle
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from transformers import OPTConfig, OPTForCausalLM, PreTrainedModel, PreTrainedTokenizerFast

from radio.models.spec import TrainedSource
from radio.models.tokenizer import END, PAD
from radio.runtime.errors import RadioError
from radio.runtime.files import atomic, read_json, write_json

log = logging.getLogger(__name__)

RECEIPT = "training.json"


@dataclass(frozen=True)
class Trained:
    """What training found: a validation perplexity and the step whose weights have it."""

    validation_perplexity: float
    step: int


@dataclass
class Run:
    """A training run between two steps."""

    model: OPTForCausalLM
    optimizer: torch.optim.AdamW
    step: int
    best: Trained
    best_weights: dict[str, Tensor]


def _fresh(settings: TrainedSource, tokenizer: PreTrainedTokenizerFast) -> Run:
    """Model with initial weights, and its optimizer (matrices decay, biases and norms do not)."""
    vocabulary = tokenizer.get_vocab()
    torch.manual_seed(settings.seed)
    model = OPTForCausalLM(
        OPTConfig(
            vocab_size=len(vocabulary),
            hidden_size=settings.width,
            word_embed_proj_dim=settings.width,
            ffn_dim=settings.ffn,
            num_hidden_layers=settings.layers,
            num_attention_heads=settings.heads,
            max_position_embeddings=settings.context,
            dropout=settings.dropout,
            activation_function="relu",
            pad_token_id=vocabulary[PAD],
            bos_token_id=vocabulary[END],
            eos_token_id=vocabulary[END],
        )
    )
    parameters = list(model.parameters())
    groups = [
        {"params": [p for p in parameters if p.dim() > 1], "weight_decay": settings.weight_decay},
        {"params": [p for p in parameters if p.dim() == 1], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=settings.learning_rate, betas=(0.9, 0.95))
    return Run(model, optimizer, 0, Trained(math.inf, 0), {})


def resumed(
    settings: TrainedSource, tokenizer: PreTrainedTokenizerFast, state: Path, recipe: str
) -> Run:
    """The run that `state` holds, or a fresh one if it holds none of this recipe."""
    run = _fresh(settings, tokenizer)
    if not state.is_file():
        return run
    try:
        saved = torch.load(state, weights_only=True)
        if saved["recipe"] != recipe:
            log.warning("%s is of other texts or settings: training starts anew", state)
            return run
        run.model.load_state_dict(saved["model"])
        run.optimizer.load_state_dict(saved["optimizer"])
    except (RuntimeError, pickle.UnpicklingError, EOFError, KeyError, ValueError) as error:
        log.warning("%s is corrupt (%s): training starts anew", state, error)
        return _fresh(settings, tokenizer)
    run.step, run.best, run.best_weights = saved["step"], Trained(*saved["best"]), saved["weights"]
    log.info("training resumes at step %d", run.step)
    return run


def save_state(run: Run, state: Path, recipe: str) -> None:
    """Write all that the next step depends on."""
    content = {
        "recipe": recipe,
        "step": run.step,
        "model": run.model.state_dict(),
        "optimizer": run.optimizer.state_dict(),
        "best": dataclasses.astuple(run.best),
        "weights": run.best_weights,
    }
    with atomic(state) as scratch:
        torch.save(content, scratch)


def publish(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    out: Path,
    receipt: Mapping[str, str | int | float],
) -> None:
    """Write the weights in float16, with tokenizer and receipt."""
    with atomic(out) as scratch:
        model.half().save_pretrained(scratch)
        tokenizer.save_pretrained(scratch)
        write_json(scratch / RECEIPT, receipt)


def check_own(out: Path) -> None:
    """Refuse a directory that neither training nor the random weights' maker wrote.

    Raises:
        RadioError: `out` has no receipt, and is not empty.
    """
    if out.is_dir() and any(out.iterdir()) and not (out / RECEIPT).is_file():
        raise RadioError(
            f"{out} holds something that radio prepare did not write: give another path for out, "
            "or remove it"
        )


def finished_result(out: Path, recipe: str) -> Trained | None:
    """The result of an earlier run of the same recipe, if `out` holds its checkpoint."""
    try:
        receipt = read_json(out / RECEIPT)
    except RadioError:
        return None
    if receipt.pop("recipe", None) != recipe:
        return None
    return Trained(**receipt)


def recipe_of(texts: Sequence[str], validation: Sequence[str], settings: TrainedSource) -> str:
    """Hash of everything that decides the weights, but for the libraries and the processor."""
    content = [list(texts), list(validation), dataclasses.asdict(settings)]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
