"""A training run on disk: its state between two steps, and its final checkpoint."""

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from transformers import OPTConfig, OPTForCausalLM, PreTrainedModel, PreTrainedTokenizerFast

from radio.models.spec import TrainedSource
from radio.models.train_tokenizer import END, PAD
from radio.runtime.errors import RadioError
from radio.runtime.files import atomic, read_json, write_json
from radio.runtime.fingerprint import code_digest
from radio.runtime.state import StateStore, state_key

log = logging.getLogger(__name__)

RECEIPT = "training.json"


@dataclass(frozen=True)
class Trained:
    """Result of training: a validation perplexity and the step of the weights that have it."""

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
    """Return a run with initial weights and its optimizer (no decay of biases and norms)."""
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


def resumed(settings: TrainedSource, tokenizer: PreTrainedTokenizerFast, state: StateStore) -> Run:
    """Return the run saved in `state`, or a fresh one if there is none."""
    run = _fresh(settings, tokenizer)
    kept = state.load()
    if kept is None:
        return run
    tensors, content = kept
    kinds: dict[str, dict[str, Tensor]] = {kind: {} for kind in ("model", "weights", "moments")}
    for key, tensor in tensors.items():
        kind, name = key.split("/", 1)
        kinds[kind][name] = tensor
    moments: dict[int, dict[str, Tensor]] = {}
    for name, tensor in kinds["moments"].items():
        index, key = name.split("/")
        moments.setdefault(int(index), {})[key] = tensor
    run.model.load_state_dict(kinds["model"])
    # each step sets the groups' learning rate; their other settings equal those of a fresh run
    groups = run.optimizer.state_dict()["param_groups"]
    run.optimizer.load_state_dict({"state": moments, "param_groups": groups})
    run.step, run.best, run.best_weights = (
        content["step"],
        Trained(*content["best"]),
        kinds["weights"],
    )
    log.info("training resumes at step %d", run.step)
    return run


def save_state(run: Run, state: StateStore) -> None:
    """Write everything that the next step depends on."""
    # clones: a file cannot hold a tensor twice, and a tied head is the embedding
    tensors = {f"model/{name}": value.clone() for name, value in run.model.state_dict().items()}
    tensors |= {f"weights/{name}": value.clone() for name, value in run.best_weights.items()}
    for index, moments in run.optimizer.state_dict()["state"].items():
        tensors |= {f"moments/{index}/{name}": value for name, value in moments.items()}
    best = run.best.validation_perplexity, run.best.step
    state.save(tensors, {"step": run.step, "best": best})


def publish(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    out: Path,
    receipt: Mapping[str, str | int | float],
) -> None:
    """Write the weights in float16, with tokenizer and receipt, to `out`."""
    with atomic(out) as scratch:
        model.half().save_pretrained(scratch)
        tokenizer.save_pretrained(scratch)
        write_json(scratch / RECEIPT, receipt)


def check_own(out: Path) -> None:
    """Refuse a directory that was written neither by training nor by `make_random_model`.

    Raises:
        RadioError: `out` has no receipt and is not empty.
    """
    if out.is_dir() and any(out.iterdir()) and not (out / RECEIPT).is_file():
        raise RadioError(
            f"{out} holds something that radio prepare did not write: give another path for out, "
            "or remove it"
        )


def finished_result(out: Path, key: str) -> Trained | None:
    """Return the result of an earlier run with the same key if `out` holds its checkpoint."""
    try:
        receipt = read_json(out / RECEIPT)
    except RadioError:
        return None
    if receipt.pop("key", None) != key:
        return None
    return Trained(**receipt)


def training_key(texts: Sequence[str], validation: Sequence[str], settings: TrainedSource) -> str:
    """Return the key of all that decides the weights, except the libraries and the CPU."""
    code = code_digest({"radio.models.train"})
    return state_key(list(texts), list(validation), settings, code)
