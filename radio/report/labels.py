"""Labels and notes of models, methods, texts and tasks, from their YAML files."""

from collections.abc import Iterable
from typing import Any

from omegaconf import DictConfig, OmegaConf

from radio.runtime.compose import compose_step
from radio.runtime.errors import RadioError
from radio.workflow.variants import canonical, split

# a step whose configuration has the group
STEP_OF = {"model": "prepare", "method": "quantize", "data": "tokenize"}


def labels(group: str, names: Iterable[str]) -> dict[str, str]:
    """Return the readers' names of options of a config group; by default the option's own name.

    >>> labels("method", ["no-such-method", "rtn@group_cols=64"])
    {'no-such-method': 'no-such-method', 'rtn@group_cols=64': 'RTN, per row, group_cols=64'}
    """
    label_of = {}
    for name in dict.fromkeys(names):
        base, settings = split(name)
        changes = [f"{key}={value}" for key, value in settings.items()]
        label_of[name] = ", ".join([_key(group, base, "label") or base, *changes])
    return label_of


def cell_labels(experiment: str, methods: Iterable[str]) -> dict[str, str]:
    """Return the readers' names of methods; a cell of the experiment may override its label."""
    cells = compose_step("table", [f"experiment={experiment}"]).experiment.cells
    own = {canonical(cell.method): cell.label for cell in cells if "label" in cell}
    return labels("method", methods) | own


def notes(group: str, names: Iterable[str]) -> dict[str, str]:
    """Return the caveats of those options `names` that have one."""
    note_of = {name: _key(group, name, "note") for name in dict.fromkeys(names)}
    return {name: note for name, note in note_of.items() if note}


def numbered(name: str) -> str:
    """Return the readers' name of a table or figure of the paper.

    >>> numbered("table_3a"), numbered("figure_1")
    ('Table 3(a)', 'Figure 1')
    """
    kind, number = name.split("_")
    part = f"({number[1:]})" if number[1:] else ""
    return f"{kind.capitalize()} {number[0]}{part}"


def task_set(name: str) -> DictConfig:
    """Return the YAML of a set of downstream tasks."""
    tasks: DictConfig = compose_step("downstream", [f"tasks={name}"]).tasks
    return tasks


def task_labels(sets: Iterable[DictConfig]) -> dict[str, str]:
    """Return the readers' names of the tasks of sets, and of their averages."""
    groups = [group for tasks in sets for group in (tasks.tasks, tasks.averages)]
    return {str(name): task.label for group in groups for name, task in group.items()}


def _key(group: str, name: str, key: str) -> Any:
    """Return a key of an option; None if the option or the key no longer exists."""
    try:
        return OmegaConf.select(compose_step(STEP_OF[group], [f"{group}={name}"]), f"{group}.{key}")
    except RadioError:
        return None
