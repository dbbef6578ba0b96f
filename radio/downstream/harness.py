"""lm-eval (Gao et al., 2024) around a loaded model: its tasks or ours, judged item by item."""

import hashlib
import time
from collections.abc import Sequence
from functools import cache
from typing import Any

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from radio.data.tokens import bos_rule
from radio.downstream.tasks import Task, TaskResult
from radio.runtime.errors import RadioError


def wrapped(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, batch: int) -> Any:
    """lm-eval's view of a model, dense or packed, that reads `batch` sequences at once."""
    from lm_eval.models.huggingface import HFLM

    return HFLM(pretrained=model, tokenizer=tokenizer, batch_size=batch)


def load_tasks(tasks: Sequence[Task], seed: int) -> dict[str, dict[str, Any]]:
    """lm-eval's objects of the tasks by name, their items loaded, few-shot examples by the seed.

    Raises:
        RadioError: lm-eval has no such task, or its items cannot be had.
    """
    loaded = {}
    for task in tasks:
        is_ours = "dataset_path" in task.definition
        asked = {"task": task.name, **task.definition} if is_ours else task.name
        try:
            found = _manager(is_ours).load([asked])
        except Exception as error:  # the hub's, datasets' and lm-eval's share no base class
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise RadioError(
                f"task {task.name} cannot be had ({reason}): connect to the Hugging Face hub, copy "
                "HF_HOME from a machine that has its items, or choose tasks=local"
            ) from error
        for key, value in {} if is_ours else task.definition.items():
            found["tasks"][task.name].set_config(key=key, value=value)
        found["tasks"][task.name].set_fewshot_seed(seed=seed)
        loaded[task.name] = dict(found)
    return loaded


@cache
def _manager(is_ours: bool) -> Any:
    """lm-eval's reader of definitions; it takes seconds to list its own."""
    from lm_eval.tasks import TaskManager

    return TaskManager(include_defaults=not is_ours)


def run_task(lm: Any, task: Task, loaded: dict[str, Any]) -> TaskResult:
    """Run one task.

    Raises:
        RadioError: lm-eval measures no such thing on this task.
    """
    from lm_eval.evaluator import evaluate

    start = time.perf_counter()
    # standard errors are ours (`scores`): lm-eval's of perplexity is a bootstrap of minutes
    found = evaluate(lm, task_dict=loaded, bootstrap_iters=0, log_samples=True)
    samples = [each for each in found["samples"][task.name] if each["filter"] == task.filter]
    for metric in task.metrics:
        if not samples or metric not in samples[0]:
            raise RadioError(
                f"lm-eval measures no {metric} on {task.name} under filter {task.filter}: "
                "correct `metrics` or `filter` in config/tasks"
            )
    samples.sort(key=lambda sample: sample["doc_id"])
    asked = "".join(sample["doc_hash"] + sample["prompt_hash"] for sample in samples)
    return TaskResult(
        version=str(found["versions"][task.name]),
        shots=int(found["n-shot"][task.name]),
        bos=bos_rule(lm.tokenizer, torch.tensor(lm.tok_encode("a"))),
        items_sha256=hashlib.sha256(asked.encode()).hexdigest(),
        values={metric: [float(sample[metric]) for sample in samples] for metric in task.metrics},
        wall_s=round(time.perf_counter() - start, 3),
    )
