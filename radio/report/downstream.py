"""The table of an experiment on downstream tasks: a row for every cell, task and metric."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from radio.downstream.scores import Score, average, change, score
from radio.report.paper import PaperTable
from radio.report.table import Cell, beside_paper, cell_of, check_identity, why_not_run
from radio.runtime.errors import RadioError
from radio.runtime.manifest import manifest_path, read_manifest

COLUMNS = {
    "model": "string",
    "method": "string",
    "rate_bits": "float64",
    "bits_paper": "float64",
    "bits_true": "float64",
    "size_bytes": "Int64",
    "task": "string",
    "metric": "string",
    "score": "float64",
    "score_se": "float64",
    "change": "float64",
    "change_se": "float64",
    "items": "Int64",
    "shots": "Int64",
    "bos": "string",
    "version": "string",
    "lm_eval": "string",
    "wall_s": "float64",
}
PAPER_COLUMNS = {
    "score_paper": "float64",
    "score_difference": "float64",
    "tolerance": "float64",
    "verdict": "string",
}
OF_MODEL = ("bits_paper", "bits_true", "size_bytes", "lm_eval")
OF_TASK = ("items", "shots", "bos", "version", "wall_s")


@dataclass(frozen=True)
class Asked:
    """A row of each cell: a task and a metric, or the mean over the tasks `of`."""

    task: str
    metric: str
    of: tuple[str, ...] = ()


def asked_of(tasks: Mapping[str, Any]) -> list[Asked]:
    """The rows that a set of tasks gives each cell; `tasks` is its YAML."""
    own = [Asked(name, metric) for name, task in tasks["tasks"].items() for metric in task.metrics]
    first = {name: task.metrics[0] for name, task in tasks["tasks"].items()}
    means = [
        Asked(name, first[mean["of"][0]], tuple(mean["of"]))
        for name, mean in tasks["averages"].items()
    ]
    return own + means


def build_downstream_table(
    evaluations: Sequence[Path],
    asked: Mapping[str, Sequence[Asked]],
    baseline: str,
    paper: Mapping[str, PaperTable] | None = None,
) -> pd.DataFrame:
    """The table, rows in the order of tasks and metrics, then of the cells.

    Args:
        evaluations: paths of the manifests `.../{model}/downstream/{method}/{rate}/{tasks}.json`,
            whether they exist or not; each has its items' values beside it as CSV.
        asked: rows of a cell, by set of tasks.
        baseline: the method that `change` is from, on the same items, paired.
        paper: the paper's tables by task.

    Returns:
        `COLUMNS`, `PAPER_COLUMNS` if the paper has a value of any row, and `note`. Scores are
        shares, or perplexities; `_se` is a standard error over items. An empty cell is NA and its
        row's note says why.

    Raises:
        RadioError: a path does not name a cell.
    """
    cells = {cell_of(path): path for path in evaluations}
    read = {cell: _read(cell, path) for cell, path in cells.items()}
    references = {
        (cell.model, cell.text): found for cell, found in read.items() if cell.method == baseline
    }
    rows, compared = [], False
    for task in dict.fromkeys(task for name in asked for task in asked[name]):
        for cell, found in read.items():
            if task in asked[cell.text]:
                row = _row(cell, found, task, references.get((cell.model, cell.text)))
                source = (paper or {}).get(task.task)
                beside = {} if source is None else beside_paper(row, cell, source)
                compared |= bool(beside)
                rows.append(row | beside)
    kinds = {**COLUMNS, **(PAPER_COLUMNS if compared else {}), "note": "string"}
    return pd.DataFrame(rows, columns=list(kinds)).astype(kinds)


def load_downstream_table(path: Path) -> pd.DataFrame:
    """Read a table of `radio.report.table.save_table` with these columns."""
    table = pd.read_csv(path, keep_default_na=False, na_values=[""])
    kinds = {name: kind for name, kind in {**COLUMNS, **PAPER_COLUMNS}.items() if name in table}
    return table.astype(kinds | {"note": "string"}).fillna({"note": ""})


@dataclass(frozen=True)
class _Found:
    """A cell's measurements and the values of its items, or why there are none."""

    measured: Mapping[str, Any]
    values: Mapping[tuple[str, str], list[float]]
    note: str = ""

    def items_of(self, task: str) -> str | None:
        """Hash of the items of a task."""
        hashed: str | None = self.measured.get("tasks", {}).get(task, {}).get("items_sha256")
        return hashed


def _read(cell: Cell, path: Path) -> _Found:
    """The manifest of a cell and the items' values beside it."""
    if not manifest_path(path).exists():
        return _Found({}, {}, f"not run: {why_not_run(path)}")
    try:
        measured = read_manifest(path)["measured"]
        check_identity(measured, cell, path)
        table = pd.read_csv(path.with_suffix(".csv"))
        grouped = table.groupby(["task", "metric"], sort=False).value
        values = {(str(task), str(metric)): list(v) for (task, metric), v in grouped}
    except (RadioError, OSError, pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        return _Found({}, {}, f"not read: {error}")
    return _Found(measured, values)


def _row(cell: Cell, found: _Found, asked: Asked, reference: _Found | None) -> dict[str, Any]:
    """One row, without what the paper says."""
    row: dict[str, Any] = {"model": cell.model, "method": cell.method, "rate_bits": cell.rate_bits}
    row |= {"task": asked.task, "metric": asked.metric, "score": None, "note": found.note}
    row |= {"protocol": None, "seeds": None}
    row |= {name: found.measured.get(name) for name in OF_MODEL}
    told = found.measured.get("tasks", {}).get(asked.task, {})
    row |= {name: told.get(name) for name in OF_TASK}
    tasks = asked.of or (asked.task,)
    scores = [_score(found, (task, asked.metric)) for task in tasks]
    changes = [_change(found, (task, asked.metric), reference) for task in tasks]
    for name, parts in (("score", scores), ("change", changes)):
        known = [part for part in parts if part is not None]
        if len(known) == len(parts):
            mean = average(known)
            row |= {name: mean.value, f"{name}_se": mean.se}
    if row["score"] is None and not found.note:
        row["note"] = f"{', '.join(tasks)}: not among what was run"
    return row


def _score(found: _Found, key: tuple[str, str]) -> Score | None:
    return score(key[1], found.values[key]) if key in found.values else None


def _change(found: _Found, key: tuple[str, str], reference: _Found | None) -> Score | None:
    """Paired change; None for other items, and for the reference itself."""
    if reference is None or found is reference or key not in found.values:
        return None
    if key not in reference.values or found.items_of(key[0]) != reference.items_of(key[0]):
        return None
    return change(key[1], found.values[key], reference.values[key])
