"""Train opt-nano, OPT's architecture, from scratch on a small text, reproducibly to the byte.

Training has no state besides the model and the optimizer: the batch and the dropout masks of a step
follow from (seed, step). A killed run therefore resumes from its last saved state and ends with the
weights of an uninterrupted run.
"""

import dataclasses
import logging
import math
from collections.abc import Sequence
from pathlib import Path

import torch
from jaxtyping import Int
from torch import Tensor
from transformers import OPTForCausalLM, PreTrainedTokenizerFast

from radio.models.spec import TrainedSource
from radio.models.train_state import (
    Run,
    Trained,
    check_own,
    finished_result,
    publish,
    resumed,
    save_state,
    training_key,
)
from radio.models.train_tokenizer import train_tokenizer
from radio.runtime.errors import RadioError
from radio.runtime.progress import progress
from radio.runtime.state import StateStore, state_path

log = logging.getLogger(__name__)

RECEIPT = "training.json"

# a step's seed is seed * SEED_STRIDE + step, so that the streams of different seeds never meet
SEED_STRIDE = 1_000_003

# sequences for selecting a checkpoint; the reported perplexity uses the whole validation text
SELECTION_BLOCKS = 32


def train_opt_nano(
    texts: Sequence[str], validation: Sequence[str], settings: TrainedSource, out: Path
) -> Trained:
    """Train on `texts` and write the best checkpoint, float16 with its tokenizer, to `out`.

    The state of a run is kept in `out`.partial until the run ends. A finished `out` of the same
    texts, settings and code is returned unchanged.

    Args:
        texts: documents to train on and to build the vocabulary from.
        validation: documents for selecting a checkpoint; never trained on.
        settings: architecture and schedule.
        out: directory to create.

    Raises:
        RadioError: a text is shorter than one context, or training diverged.
    """
    check_own(out)
    key = training_key(texts, validation, settings)
    finished = finished_result(out, key)
    if finished is not None:
        return finished
    tokenizer = train_tokenizer(texts, settings.vocabulary)
    train_ids = _stream(tokenizer, texts, settings.context, "training")
    valid_ids = _stream(tokenizer, validation, settings.context, "validation")
    state = StateStore(state_path(out), key)
    run = resumed(settings, tokenizer, state)
    first = run.step
    for step in progress(range(first, settings.steps), "training opt-nano", settings.steps - first):
        _update(run, settings, train_ids, step)
        run.step = step + 1
        if run.step % settings.validate_every == 0 or run.step == settings.steps:
            _validate(run, valid_ids, settings.context)
            save_state(run, state)
    run.model.load_state_dict(run.best_weights)
    run.model.half().float()  # report the weights as stored
    trained = Trained(perplexity(run.model, valid_ids, settings.context), run.best.step)
    publish(run.model, tokenizer, out, {"key": key, **dataclasses.asdict(trained)})
    state.remove()
    return trained


def perplexity(model: OPTForCausalLM, ids: Int[Tensor, " tokens"], context: int) -> float:
    """Return the perplexity over all targets of all whole sequences; float32 log-softmax."""
    blocks = ids[: ids.numel() // context * context].view(-1, context)
    model.eval()
    total = 0.0
    with torch.no_grad():
        for block in blocks:
            logits = model(input_ids=block[None]).logits[0, :-1].float()
            total += float(torch.nn.functional.cross_entropy(logits, block[1:], reduction="sum"))
    return math.exp(total / (blocks.shape[0] * (context - 1)))


def fast_matmul() -> torch.autocast:
    """Return a context for bf16 matrix products if the CPU has them: half the training time."""
    native = torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return torch.autocast("cpu", torch.bfloat16, enabled=bool(native))


def _update(run: Run, settings: TrainedSource, ids: Int[Tensor, " tokens"], step: int) -> None:
    """Take one optimizer step on a batch of random windows."""
    generator = torch.Generator().manual_seed(settings.seed * SEED_STRIDE + step)
    starts = torch.randint(ids.numel() - settings.context, (settings.batch,), generator=generator)
    batch = torch.stack([ids[start : start + settings.context] for start in starts])
    torch.manual_seed(settings.seed * SEED_STRIDE + step)  # for dropout
    for group in run.optimizer.param_groups:
        group["lr"] = _learning_rate(settings, step)
    run.model.train()
    with fast_matmul():
        loss = run.model(input_ids=batch, labels=batch).loss
    if not torch.isfinite(loss):
        raise RadioError(
            f"training diverged at step {step}: lower model.source.learning_rate="
            f"{settings.learning_rate}"
        )
    run.optimizer.zero_grad(set_to_none=True)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(run.model.parameters(), 1.0)
    run.optimizer.step()


def _learning_rate(settings: TrainedSource, step: int) -> float:
    """Return the learning rate: linear warm-up, then a half cosine down to a tenth of the peak."""
    if step < settings.warmup:
        return settings.learning_rate * (step + 1) / settings.warmup
    done = (step - settings.warmup) / max(1, settings.steps - settings.warmup)
    return settings.learning_rate * (0.1 + 0.45 * (1 + math.cos(math.pi * done)))


def _validate(run: Run, ids: Int[Tensor, " tokens"], context: int) -> None:
    """Keep a copy of the weights if they are the best so far."""
    with fast_matmul():
        found = perplexity(run.model, ids[: SELECTION_BLOCKS * context], context)
    log.info("step %d: validation perplexity %.3f", run.step, found)
    if found < run.best.validation_perplexity:
        run.best = Trained(found, run.step)
        run.best_weights = {
            name: weight.detach().clone() for name, weight in run.model.state_dict().items()
        }


def _stream(
    tokenizer: PreTrainedTokenizerFast, texts: Sequence[str], context: int, what: str
) -> Int[Tensor, " tokens"]:
    """Return all documents as one sequence of tokens, each after its `</s>`."""
    encoded = tokenizer(list(texts), return_attention_mask=False)["input_ids"] if texts else []
    ids = torch.tensor([token for document in encoded for token in document], dtype=torch.int64)
    if ids.numel() <= context:
        raise RadioError(
            f"the {what} text has {ids.numel()} tokens, but model.source.context={context} needs "
            "more: give a longer text or a shorter context"
        )
    return ids
