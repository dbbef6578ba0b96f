"""What is asked of a model, with which items, and what it answered."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from radio.runtime.errors import RadioError
from radio.runtime.files import atomic


@dataclass(frozen=True)
class Task:
    """One task and what is wanted of it.

    Attributes:
        name: of the task; of lm-eval's own unless `definition` has a `dataset_path`.
        metrics: lm-eval's names of what is measured: acc, acc_norm, exact_match, perplexity.
        filter: what lm-eval does to an answer before it is judged.
        definition: lm-eval's YAML of the task, or what is changed of it.
    """

    name: str
    metrics: Sequence[str]
    filter: str = "none"
    definition: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class TaskResult:
    """What a model did with the items of a task.

    Attributes:
        version: the task's, as its YAML has it.
        shots: examples before each question.
        bos: whether the tokenizer puts a begin-of-sequence token in front: "once" or "none".
        items_sha256: of all items and prompts; results of equal hashes are of the same questions.
        values: by metric, one number an item in their order: 0 or 1, or, of `perplexity`, the
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
    """Tasks of a set, of which `config` is the part `tasks` of its YAML."""
    known, plain = ("metrics", "filter", "definition"), OmegaConf.to_container(config)
    assert isinstance(plain, dict)
    return [
        Task(str(name), **{key: task[key] for key in known if key in task})
        for name, task in plain.items()
    ]


def save_items(path: Path, items: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
    """Write the items of several tasks, a line each with its task."""
    lines = [json.dumps({"task": task, **item}) for task in items for item in items[task]]
    with atomic(path) as scratch:
        scratch.write_text("".join(f"{line}\n" for line in lines))


def load_items(path: Path) -> dict[str, list[dict[str, Any]]]:
    """Items by task out of a file of `save_items`.

    Raises:
        RadioError: the file is absent or corrupt.
    """
    found: dict[str, list[dict[str, Any]]] = {}
    try:
        for line in path.read_text().splitlines():
            item = json.loads(line)
            found.setdefault(item.pop("task"), []).append(item)
    except (OSError, ValueError, KeyError) as error:
        raise RadioError(
            f"{path} cannot be read ({error!r}): make it with `radio items`"
        ) from error
    return found


def with_items(
    tasks: Iterable[Task], items: Mapping[str, Sequence[Mapping[str, Any]]], folder: Path
) -> list[Task]:
    """The tasks with their items, each task's put in a file in `folder` that lm-eval reads.

    Raises:
        RadioError: there are no items of a task.
    """
    given = []
    for task in tasks:
        if task.name not in items:
            raise RadioError(
                f"artifacts.task_items has no items of {task.name}: make it anew with `radio items`"
            )
        file = folder / f"{task.name}.jsonl"
        file.write_text("\n".join(json.dumps(item) for item in items[task.name]))
        source = {"data_files": {"test": str(file)}, "cache_dir": str(folder / "cache")}
        given.append(replace(task, definition={**task.definition, "dataset_kwargs": source}))
    return given
