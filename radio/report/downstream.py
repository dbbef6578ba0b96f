"""The table of downstream tasks: a row for every cell, task and metric of an experiment."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from radio.evaluate.downstream.scores import Score, average, change, score
from radio.report.paper import PaperTable
from radio.report.table import Cell, cell_of, check_identity, paper_columns, why_not_run
from radio.runtime.errors import RadioError
from radio.runtime.manifest import manifest_path, read_manifest

COLUMNS = {
    "model": "string",
    "method": "string",
    "rate_bits": "float64",
    "mean_depth": "float64",
    "bpw": "float64",
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
MODEL_COLUMNS = ("mean_depth", "bpw", "size_bytes", "lm_eval")
TASK_COLUMNS = ("items", "shots", "bos", "version", "wall_s")


@dataclass(frozen=True)
class TaskMetric:
    """A metric of a task, or its mean over the tasks `averaged`."""

    task: str
    metric: str
    averaged: tuple[str, ...] = ()


def task_metrics(tasks: Mapping[str, Any]) -> list[TaskMetric]:
    """Return the metrics that a set of tasks gives each cell; `tasks` is its YAML."""
    metrics = [
        TaskMetric(name, metric) for name, task in tasks["tasks"].items() for metric in task.metrics
    ]
    first = {name: task.metrics[0] for name, task in tasks["tasks"].items()}
    means = [
        TaskMetric(name, first[mean["of"][0]], tuple(mean["of"]))
        for name, mean in tasks["averages"].items()
    ]
    return metrics + means


def build_downstream_table(
    evaluations: Sequence[Path],
    metrics: Mapping[str, Sequence[TaskMetric]],
    baseline: str,
    paper: Mapping[str, PaperTable] | None = None,
) -> pd.DataFrame:
    """Return the table; its rows are ordered by task and metric, then by cell.

    Args:
        evaluations: paths of the manifests `.../{model}/downstream/{method}/{rate}/{tasks}.json`,
            which need not exist; the CSV file of the same name has the items' values.
        metrics: metrics of a cell, by set of tasks.
        baseline: the method from which `change` is measured, paired on the same items.
        paper: the paper's tables by task.

    Returns:
        `COLUMNS`, `PAPER_COLUMNS` if the paper has a value for any row, and `note`. Scores are
        shares, or perplexities; `_se` is a standard error over items. A missing value is NA, and
        the row's note says why.

    Raises:
        RadioError: a path does not name a cell.
    """
    results = {cell: _read(cell, path) for path in evaluations for cell in [cell_of(path)]}
    references = {
        (cell.model, cell.text): result
        for cell, result in results.items()
        if cell.method == baseline
    }
    rows, compared = [], False
    for metric in dict.fromkeys(metric for name in metrics for metric in metrics[name]):
        for cell, result in results.items():
            if metric in metrics[cell.text]:
                row = _row(cell, result, metric, references.get((cell.model, cell.text)))
                source = (paper or {}).get(metric.task)
                added = {} if source is None else paper_columns(row, cell, source)
                compared |= bool(added)
                rows.append(row | added)
    kinds = {**COLUMNS, **(PAPER_COLUMNS if compared else {}), "note": "string"}
    return pd.DataFrame(rows, columns=list(kinds)).astype(kinds)


def load_downstream_table(path: Path) -> pd.DataFrame:
    """Return a table with these columns, written by `radio.report.table.save_table`."""
    table = pd.read_csv(path, keep_default_na=False, na_values=[""])
    kinds = {name: kind for name, kind in {**COLUMNS, **PAPER_COLUMNS}.items() if name in table}
    return table.astype(kinds | {"note": "string"}).fillna({"note": ""})


@dataclass(frozen=True)
class _Result:
    """Measurements of a cell and its items' values by task and metric; `note` if it has none."""

    measured: Mapping[str, Any]
    values: Mapping[tuple[str, str], list[float]]
    note: str = ""

    def items_hash(self, task: str) -> str | None:
        """Return the hash of the items of a task."""
        sha256: str | None = self.measured.get("tasks", {}).get(task, {}).get("items_sha256")
        return sha256


def _read(cell: Cell, path: Path) -> _Result:
    """Return the result of a cell, from its manifest and its items' values."""
    if not manifest_path(path).exists():
        return _Result({}, {}, f"not run: {why_not_run(path)}")
    try:
        measured = read_manifest(path)["measured"]
        check_identity(measured, cell, path)
        table = pd.read_csv(path.with_suffix(".csv"))
        grouped = table.groupby(["task", "metric"], sort=False).value
        values = {(str(task), str(metric)): list(v) for (task, metric), v in grouped}
    except (RadioError, OSError, pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        return _Result({}, {}, f"not read: {error}")
    return _Result(measured, values)


def _row(
    cell: Cell, result: _Result, metric: TaskMetric, reference: _Result | None
) -> dict[str, Any]:
    """Return one row, without the paper's columns."""
    row: dict[str, Any] = {"model": cell.model, "method": cell.method, "rate_bits": cell.rate_bits}
    row |= {"task": metric.task, "metric": metric.metric, "score": None, "note": result.note}
    row |= {"protocol": None, "seeds": None}
    row |= {name: result.measured.get(name) for name in MODEL_COLUMNS}
    task = result.measured.get("tasks", {}).get(metric.task, {})
    row |= {name: task.get(name) for name in TASK_COLUMNS}
    names = metric.averaged or (metric.task,)
    scores = [_score(result, (name, metric.metric)) for name in names]
    changes = [_change(result, (name, metric.metric), reference) for name in names]
    for column, estimates in (("score", scores), ("change", changes)):
        known = [estimate for estimate in estimates if estimate is not None]
        if len(known) == len(estimates):
            mean = average(known)
            row |= {column: mean.value, f"{column}_se": mean.se}
    if row["score"] is None and not result.note:
        row["note"] = f"{', '.join(names)}: not in the results"
    return row


def _score(result: _Result, key: tuple[str, str]) -> Score | None:
    return score(key[1], result.values[key]) if key in result.values else None


def _change(result: _Result, key: tuple[str, str], reference: _Result | None) -> Score | None:
    """Return the paired change; None on other items, and for the reference itself."""
    if reference is None or result is reference or key not in result.values:
        return None
    same_items = result.items_hash(key[0]) == reference.items_hash(key[0])
    if key not in reference.values or not same_items:
        return None
    return change(key[1], result.values[key], reference.values[key])
