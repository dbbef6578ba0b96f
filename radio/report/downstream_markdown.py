"""Columns and caption of the table of downstream tasks: a section per task and metric."""

from collections.abc import Iterable, Mapping, Sequence

import pandas as pd

from radio.downstream.scores import PERPLEXITY
from radio.report.verdict import Tolerance
from radio.report.wording import MISSING, allowances, number
from radio.report.writer import (
    Column,
    Footnotes,
    Row,
    Section,
    estimate_column,
    markdown,
    number_column,
    text_column,
)

METRICS = {
    "acc": "accuracy, %",
    "acc_norm": "accuracy by log-likelihood per character, %",
    "exact_match": "exact match, %",
    PERPLEXITY: "perplexity per word",
}
NOTE = (
    "± is one standard error over items; that of the change is paired item by item, and is the "
    "one for comparing methods. *Mean depth* is the mean bit depth, as the paper quotes it; *bpw* "
    "(bits per weight) counts everything that a decoder needs. Both are per quantized weight."
)


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
    """Return the table of `radio.report.downstream.build_downstream_table` as Markdown.

    Args:
        table: as built; every number in the document is a rounded number of the table.
        title: heading.
        method_labels: readers' names of the methods.
        model_labels: readers' names of the models.
        task_labels: readers' names of the tasks.
        model_notes: caveats of models, by name.
        baseline: the method from which changes are measured.
        tolerances: methods with the tolerances by which they were judged, as shares.
        provenance: sentences on devices and versions.
    """
    footnotes = Footnotes(table.note)
    shared = [
        text_column("Model", "model", model_labels),
        text_column("Method", "method", method_labels),
        Column("Mean depth", _mean_depth, "number"),
        number_column("bpw", "bits_true", 3),
    ]
    sections = [
        Section(
            rows.to_dict("records"),
            [
                *shared,
                *_numbers(str(metric), method_labels.get(baseline, baseline)),
                footnotes.column,
            ],
            f"{task_labels.get(str(task), task)}: {METRICS.get(str(metric), metric)}",
        )
        for (task, metric), rows in table.groupby(["task", "metric"], sort=False)
    ]
    caption = [
        *footnotes.lines,
        NOTE,
        *allowances(tolerances, method_labels),
        *_settings(table, task_labels),
        *(f"{model_labels.get(name, name)}: {note}" for name, note in model_notes.items()),
        *provenance,
    ]
    return markdown(title, sections, caption)


def _numbers(metric: str, baseline: str) -> list[Column]:
    """Return the columns of scores; those of shares are in percent."""
    scale = 1.0 if metric == PERPLEXITY else 100.0
    return [
        estimate_column("Score", "score", scale=scale),
        estimate_column(f"Change from {baseline}", "change", scale=scale),
        number_column("Paper", "score_paper", 2, scale=scale),
        number_column("Ours − paper", "score_difference", 2, scale=scale, sign="+"),
        number_column("Tolerance", "tolerance", 2, scale=scale),
        text_column("Verdict", "verdict"),
    ]


def _mean_depth(row: Row) -> str:
    """Return the mean depth; the requested rate of a row that was not run."""
    depth = number(row["bits_paper"], 3)
    return number(row["rate_bits"], 3) if depth == MISSING else depth


def _settings(table: pd.DataFrame, task_labels: Mapping[str, str]) -> Iterable[str]:
    """Yield one sentence per task: the settings under which it was run."""
    for task, rows in table.dropna(subset=["items"]).groupby("task", sort=False):
        row = rows.iloc[0]
        yield (
            f"{task_labels.get(str(task), task)}: {row['items']} items, {row['shots']} shots, "
            f"version {row['version']}, BOS {row['bos']}, lm-eval {row['lm_eval']}."
        )
