"""Labels and notes that the YAML files give models, methods and texts."""

from collections.abc import Iterable
from typing import Any

from omegaconf import DictConfig, OmegaConf

from radio.runtime.compose import compose_step
from radio.runtime.errors import RadioError
from radio.variants import canonical, split

# a step that has the group
STEP_OF = {"model": "prepare", "method": "quantize", "data": "tokenize"}


def labels(group: str, names: Iterable[str]) -> dict[str, str]:
    """What readers call the options `names` of a config group; a name without a label is its own.

    >>> labels("method", ["no-such-method", "rtn@group_cols=64"])
    {'no-such-method': 'no-such-method', 'rtn@group_cols=64': 'RTN, per row, group_cols=64'}
    """
    found = {}
    for name in dict.fromkeys(names):
        base, settings = split(name)
        changed = [f"{key}={value}" for key, value in settings.items()]
        found[name] = ", ".join([_key(group, base, "label") or base, *changed])
    return found


def cell_labels(experiment: str, methods: Iterable[str]) -> dict[str, str]:
    """Labels of methods, of which an experiment's cells may give their own."""
    cells = compose_step("table", [f"experiment={experiment}"]).experiment.cells
    own = {canonical(cell.method): cell.label for cell in cells if "label" in cell}
    return labels("method", methods) | own


def notes(group: str, names: Iterable[str]) -> dict[str, str]:
    """The caveats that go with the numbers of the options `names`, where there are any."""
    found = {name: _key(group, name, "note") for name in dict.fromkeys(names)}
    return {name: note for name, note in found.items() if note}


def numbered(name: str) -> str:
    """A table or figure of the paper for readers.

    >>> numbered("table_3a"), numbered("figure_1")
    ('Table 3(a)', 'Figure 1')
    """
    kind, number = name.split("_")
    part = f"({number[1:]})" if number[1:] else ""
    return f"{kind.capitalize()} {number[0]}{part}"


def task_set(name: str) -> DictConfig:
    """The YAML of a set of downstream tasks."""
    tasks: DictConfig = compose_step("downstream", [f"tasks={name}"]).tasks
    return tasks


def task_labels(sets: Iterable[DictConfig]) -> dict[str, str]:
    """What readers call the tasks of sets, and their averages."""
    parts = [part for each in sets for part in (each.tasks, each.averages)]
    return {str(name): task.label for part in parts for name, task in part.items()}


def _key(group: str, name: str, key: str) -> Any:
    """A key of an option; None where the option, or the key, is gone since the run."""
    try:
        return OmegaConf.select(compose_step(STEP_OF[group], [f"{group}={name}"]), f"{group}.{key}")
    except RadioError:
        return None
