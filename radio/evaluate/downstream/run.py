"""Run a set of tasks on a model; a killed run resumes at the task that it was running."""

import logging
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from radio.evaluate.downstream.harness import load_tasks, run_task, wrapped
from radio.evaluate.downstream.tasks import Task, TaskData, TaskResult, with_items
from radio.runtime.state import StateStore

log = logging.getLogger(__name__)


def run_tasks(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    tasks: Sequence[Task],
    task_data: TaskData | None,
    batch: int,
    seed: int,
    state: StateStore,
) -> dict[str, TaskResult]:
    """Return the results by task, in the given order; tasks with a result in `state` are kept.

    Args:
        model: a dense or packed model.
        tokenizer: tokenizer of the model.
        tasks: tasks to run; all are loaded before the first starts.
        task_data: items by task; None for lm-eval's own tasks.
        batch: sequences per forward pass.
        seed: draws the examples of few-shot tasks.
        state: results of finished tasks; the caller removes it after it has saved all results.

    Raises:
        RadioError: a task's items are not available, or lm-eval lacks a task or a metric.
    """
    stored = state.load()
    results = {} if stored is None else stored[1]["results"]
    done = {name: TaskResult(**result) for name, result in results.items()}
    pending = [task for task in tasks if task.name not in done]
    with tempfile.TemporaryDirectory(prefix="radio-items-") as folder:
        complete = pending if task_data is None else with_items(pending, task_data, Path(folder))
        loaded = load_tasks(complete, seed)
        lm = wrapped(model, tokenizer, batch)
        for task in pending:
            log.info("task %s, %d of %d", task.name, len(done) + 1, len(tasks))
            done[task.name] = run_task(lm, task, loaded[task.name])
            results = {name: asdict(result) for name, result in done.items()}
            state.save({}, {"results": results})
    return {task.name: done[task.name] for task in tasks}
