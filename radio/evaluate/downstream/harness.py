"""The lm-eval adapter (Gao et al., 2024): runs its tasks or ours on a loaded model."""

import hashlib
import time
from collections.abc import Sequence
from functools import cache
from typing import Any

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from radio.data.tokens import bos_rule
from radio.evaluate.downstream.tasks import Task, TaskResult
from radio.runtime.errors import RadioError


def wrapped(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, batch: int) -> Any:
    """Return lm-eval's wrapper of a dense or packed model, with `batch` sequences per pass."""
    from lm_eval.models.huggingface import HFLM

    return HFLM(pretrained=model, tokenizer=tokenizer, batch_size=batch)


def load_tasks(tasks: Sequence[Task], seed: int) -> dict[str, dict[str, Any]]:
    """Return lm-eval's task objects by name, with their items; `seed` draws few-shot examples.

    Raises:
        RadioError: lm-eval does not have a task, or its items are not available.
    """
    loaded = {}
    for task in tasks:
        is_ours = "dataset_path" in task.definition
        query = {"task": task.name, **task.definition} if is_ours else task.name
        try:
            objects = _manager(is_ours).load([query])
        except Exception as error:  # errors of the hub, datasets and lm-eval share no base class
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise RadioError(
                f"task {task.name} is not available ({reason}): connect to the Hugging Face hub, "
                "copy HF_HOME from a machine that has its items, or choose tasks=local"
            ) from error
        for key, value in {} if is_ours else task.definition.items():
            objects["tasks"][task.name].set_config(key=key, value=value)
        objects["tasks"][task.name].set_fewshot_seed(seed=seed)
        loaded[task.name] = dict(objects)
    return loaded


@cache
def _manager(is_ours: bool) -> Any:
    """Return lm-eval's loader of definitions; to list its own tasks takes seconds."""
    from lm_eval.tasks import TaskManager

    return TaskManager(include_defaults=not is_ours)


def run_task(lm: Any, task: Task, loaded: dict[str, Any]) -> TaskResult:
    """Run one task on a wrapped model.

    Raises:
        RadioError: lm-eval does not report one of the metrics on this task.
    """
    from lm_eval.evaluator import evaluate

    start = time.perf_counter()
    # `scores` computes standard errors; lm-eval's bootstrap of a perplexity takes minutes
    results = evaluate(lm, task_dict=loaded, bootstrap_iters=0, log_samples=True)
    samples = [s for s in results["samples"][task.name] if s["filter"] == task.filter]
    for metric in task.metrics:
        if not samples or metric not in samples[0]:
            raise RadioError(
                f"lm-eval reports no {metric} on {task.name} under filter {task.filter}: "
                "correct `metrics` or `filter` in config/tasks"
            )
    samples.sort(key=lambda sample: sample["doc_id"])
    questions = "".join(sample["doc_hash"] + sample["prompt_hash"] for sample in samples)
    return TaskResult(
        version=str(results["versions"][task.name]),
        shots=int(results["n-shot"][task.name]),
        bos=bos_rule(lm.tokenizer, torch.tensor(lm.tok_encode("a"))),
        items_sha256=hashlib.sha256(questions.encode()).hexdigest(),
        values={metric: [float(sample[metric]) for sample in samples] for metric in task.metrics},
        wall_s=round(time.perf_counter() - start, 3),
    )
