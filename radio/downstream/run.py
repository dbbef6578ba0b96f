"""A set of tasks on a model, one after another; a killed run goes on with the task it was at."""

import logging
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from radio.downstream.harness import load_tasks, run_task, wrapped
from radio.downstream.tasks import Task, TaskResult, with_items
from radio.runtime.state import StateStore

log = logging.getLogger(__name__)


def run_tasks(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    tasks: Sequence[Task],
    items: Mapping[str, Sequence[Mapping[str, Any]]] | None,
    batch: int,
    seed: int,
    state: StateStore,
) -> dict[str, TaskResult]:
    """Results by task, in their order; what `state` has of an interrupted run is not run again.

    Args:
        model: dense or packed.
        tokenizer: the model's.
        tasks: what is run; all are loaded before the first begins.
        items: by task, of tasks that are not lm-eval's own.
        batch: sequences a forward pass.
        seed: draws the examples of few-shot tasks.
        state: the results so far; the caller removes it once it has saved all.

    Raises:
        RadioError: a task's items cannot be had, or lm-eval does not know a task or a metric.
    """
    kept = state.load()
    results = {} if kept is None else kept[1]["results"]
    done = {name: TaskResult(**result) for name, result in results.items()}
    waiting = [task for task in tasks if task.name not in done]
    with tempfile.TemporaryDirectory(prefix="radio-items-") as folder:
        given = waiting if items is None else with_items(waiting, items, Path(folder))
        loaded = load_tasks(given, seed)
        lm = wrapped(model, tokenizer, batch)
        for task in waiting:
            log.info("task %s, %d of %d", task.name, len(done) + 1, len(tasks))
            done[task.name] = run_task(lm, task, loaded[task.name])
            results = {name: asdict(result) for name, result in done.items()}
            state.save({}, {"results": results})
    return {task.name: done[task.name] for task in tasks}
