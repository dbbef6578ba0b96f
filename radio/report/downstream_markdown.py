"""The table of downstream tasks for reading: a section for every task and metric."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd

from radio.downstream.scores import PERPLEXITY
from radio.report.verdict import Tolerance
from radio.report.wording import (
    MISSING,
    allowances,
    marked,
    number,
    scaled,
    shared_notes,
    table_lines,
    with_error,
    word,
)

METRICS = {
    "acc": "accuracy, %",
    "acc_norm": "accuracy by log-likelihood per character, %",
    "exact_match": "exact match, %",
    PERPLEXITY: "perplexity per word",
}


def render(
    table: pd.DataFrame,
    title: str,
    *,
    method_labels: Mapping[str, str],
    model_labels: Mapping[str, str],
    task_labels: Mapping[str, str],
    model_notes: Mapping[str, str],
    baseline: str,
    tolerances: Sequence[tuple[str, Tolerance]] = (),
    provenance: Sequence[str] = (),
) -> str:
    """A Markdown document with the table of `radio.report.downstream.build_downstream_table`.

    Args:
        table: as built; every number in the result is one of its numbers, rounded.
        title: heading.
        method_labels: what readers call the methods, by name.
        model_labels: the same of the models.
        task_labels: the same of the tasks.
        model_notes: caveats of models, by name.
        baseline: the method that changes are from.
        tolerances: what is allowed between ours and the paper's, as shares.
        provenance: lines on devices and versions.
    """
    notes = shared_notes(table.note)
    lines = [f"### {title}", ""]
    for (task, metric), part in table.groupby(["task", "metric"], sort=False):
        rows = [
            {
                "Model": model_labels.get(row["model"], row["model"]),
                "Method": method_labels.get(row["method"], row["method"]),
                "Bits, depth": number(_first(row["bits_paper"], row["rate_bits"]), 3),
                "Bits, true": number(row["bits_true"], 3),
                **_numbers(row, method_labels.get(baseline, baseline)),
                "Note": marked(row["note"], notes) or MISSING,
            }
            for row in part.to_dict("records")
        ]
        heading = f"{task_labels.get(str(task), task)}: {METRICS.get(str(metric), metric)}"
        lines += [f"#### {heading}", "", *table_lines(rows), ""]
    caption = [
        *(f"[{mark}] {note}" for note, mark in notes.items()),
        "± is one standard error over items; that of the change is paired item by item, and is "
        "the one to compare methods by. Bits are per quantized weight: *depth* is the mean bit "
        "depth that the paper quotes, *true* adds everything a decoder needs.",
        *allowances(tolerances, method_labels),
        *_settings(table, task_labels),
        *(f"{model_labels.get(name, name)}: {note}" for name, note in model_notes.items()),
        *provenance,
    ]
    return "\n".join([*lines, *(f"{line}  " for line in caption)]) + "\n"


def _numbers(row: Mapping[Any, Any], baseline: str) -> dict[str, str]:
    """One row's numbers by column heading; shares in percent."""
    unit = 1.0 if row["metric"] == PERPLEXITY else 100.0
    of = {name: scaled(value, unit) for name, value in row.items() if "score" in str(name)}
    changed = [scaled(row[name], unit) for name in ("change", "change_se")]
    return {
        "Score": with_error(of["score"], of["score_se"]),
        f"Change from {baseline}": with_error(*changed),
        "Paper": number(of.get("score_paper"), 2),
        "Ours − paper": number(of.get("score_difference"), 2, sign="+"),
        "Tolerance": number(scaled(row.get("tolerance"), unit), 2),
        "Verdict": word(row.get("verdict")),
    }


def _settings(table: pd.DataFrame, task_labels: Mapping[str, str]) -> Iterable[str]:
    """A line on how each task was run."""
    known = table.dropna(subset=["items"])
    for task, part in known.groupby("task", sort=False):
        first = part.iloc[0]
        yield (
            f"{task_labels.get(str(task), task)}: {first['items']} items, "
            f"{first['shots']} shots, version {first['version']}, BOS {first['bos']}, "
            f"lm-eval {first['lm_eval']}."
        )


def _first(*values: Any) -> Any:
    return next((value for value in values if pd.notna(value)), None)
