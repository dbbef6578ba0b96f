"""Downstream tasks, the files of their items, and their results."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from omegaconf import DictConfig, OmegaConf

from radio.runtime.errors import RadioError
from radio.runtime.files import atomic

# items by task
TaskData = Mapping[str, Sequence[Mapping[str, Any]]]


@dataclass(frozen=True)
class Task:
    """One task and its metrics.

    Attributes:
        name: name of the task; a task of lm-eval unless `definition` has a `dataset_path`.
        metrics: lm-eval's names of the metrics: acc, acc_norm, exact_match, perplexity.
        filter: lm-eval's filter that is applied to an answer before it is scored.
        definition: lm-eval's YAML of the task, or changes to lm-eval's own.
    """

    name: str
    metrics: Sequence[str]
    filter: str = "none"
    definition: Mapping[str, Any] = field(default_factory=dict)


@runtime_checkable
class Items(Protocol):
    """Where items come from that lm-eval does not bring."""

    def items(self) -> dict[str, list[dict[str, Any]]]:
        """Return the items of each task."""
        ...


@dataclass(frozen=True)
class TaskResult:
    """A model's results on the items of a task.

    Attributes:
        version: version of the task, from its YAML.
        shots: number of examples before each question.
        bos: "once" if the tokenizer puts a begin-of-sequence token in front, else "none".
        items_sha256: hash of all items and prompts; equal hashes mean the same questions.
        values: by metric, one number per item in their order: 0 or 1, or, for `perplexity`, the
            log-likelihood in nats.
        wall_s: seconds.
    """

    version: str
    shots: int
    bos: str
    items_sha256: str
    values: dict[str, list[float]]
    wall_s: float


def tasks_of(config: DictConfig) -> list[Task]:
    """Return the tasks of a set; `config` is the part `tasks` of its YAML."""
    keys, plain = ("metrics", "filter", "definition"), OmegaConf.to_container(config)
    assert isinstance(plain, dict)
    return [
        Task(str(name), **{key: task[key] for key in keys if key in task})
        for name, task in plain.items()
    ]


def save_items(path: Path, task_data: TaskData) -> None:
    """Write the items of several tasks, one per line with its task."""
    lines = [json.dumps({"task": task, **item}) for task in task_data for item in task_data[task]]
    with atomic(path) as scratch:
        scratch.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def load_items(path: Path) -> dict[str, list[dict[str, Any]]]:
    """Return the items by task from a file written by `save_items`.

    Raises:
        RadioError: the file is absent or corrupt.
    """
    task_data: dict[str, list[dict[str, Any]]] = {}
    try:
        for line in path.read_text(encoding="utf-8").splitlines():
            item = json.loads(line)
            task_data.setdefault(item.pop("task"), []).append(item)
    except (OSError, ValueError, KeyError) as error:
        raise RadioError(f"{path} cannot be read ({error!r}): rerun `radio items`") from error
    return task_data


def with_items(tasks: Iterable[Task], task_data: TaskData, folder: Path) -> list[Task]:
    """Return the tasks with their items, which are written to files in `folder` for lm-eval.

    Raises:
        RadioError: `task_data` has no items of a task.
    """
    complete = []
    for task in tasks:
        if task.name not in task_data:
            raise RadioError(
                f"artifacts.task_items has no items of {task.name}: rerun `radio items`"
            )
        file = folder / f"{task.name}.jsonl"
        file.write_text("\n".join(map(json.dumps, task_data[task.name])), encoding="utf-8")
        source = {"data_files": {"test": str(file)}, "cache_dir": str(folder / "cache")}
        complete.append(replace(task, definition={**task.definition, "dataset_kwargs": source}))
    return complete
