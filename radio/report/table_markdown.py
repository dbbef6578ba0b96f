"""Columns and caption of the table of evaluations."""

from collections.abc import Mapping, Sequence

import pandas as pd

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

NOTE = (
    "*Mean depth* is the mean bit depth, as the paper quotes it; *bpw* (bits per weight) counts "
    "everything that a decoder needs: depths, scales, locations, row order, biases. Both are per "
    "quantized weight. ± is one standard error over sequences; that of the increase over FP16 is "
    "paired, and is the one for comparing methods. KL divergence is from the FP16 model's "
    "distribution. Time covers calibration, measured distortions, search, allocation and "
    "quantization, as far as a method uses them."
)


def render(
    table: pd.DataFrame,
    title: str,
    *,
    method_labels: Mapping[str, str],
    model_labels: Mapping[str, str],
    text_labels: Mapping[str, str],
    model_notes: Mapping[str, str],
    tolerances: Sequence[tuple[str, Tolerance]] = (),
    provenance: Sequence[str] = (),
) -> str:
    """Return the table of `radio.report.table.build_table` as Markdown.

    Args:
        table: as built; every number in the document is a rounded number of the table.
        title: heading.
        method_labels: readers' names of the methods.
        model_labels: readers' names of the models.
        text_labels: readers' names of the texts.
        model_notes: caveats of models, by name.
        tolerances: methods with the tolerances by which they were judged.
        provenance: sentences on devices and versions.
    """
    footnotes = Footnotes(table.note)
    columns = [
        text_column("Model", "model", model_labels),
        text_column("Text", "text", text_labels),
        text_column("Method", "method", method_labels),
        *_numbers("pruned" if "pruned_paper" in table else "perplexity"),
        footnotes.column,
    ]
    caption = [
        *footnotes.lines,
        NOTE,
        *allowances(tolerances, method_labels),
        *_protocols(table, text_labels),
        *(f"{model_labels.get(name, name)}: {note}" for name, note in model_notes.items()),
        *provenance,
    ]
    return markdown(title, [Section(table.to_dict("records"), columns)], caption)


def _numbers(compared: str) -> list[Column]:
    """Return the columns of numbers; `compared` is the quantity that the paper reports."""
    percent = 100.0 if compared == "pruned" else 1.0
    pruned = [number_column("Pruned, %", "pruned", 2, scale=100.0)] if percent > 1 else []
    return [
        Column("Target", _target, "number"),
        number_column("Achieved (validation)", "loss_validation", 4),
        Column("Mean depth", _mean_depth, "number"),
        number_column("bpw", "bits_true", 3),
        number_column("Size, MB", "size_bytes", 1, scale=1e-6),
        estimate_column("Perplexity", "perplexity"),
        estimate_column("Increase over FP16", "perplexity_increase"),
        *pruned,
        number_column("Paper", f"{compared}_paper", 2, scale=percent),
        number_column("Ours − paper", f"{compared}_difference", 2, scale=percent, sign="+"),
        number_column("Tolerance", "tolerance", 2, scale=percent),
        text_column("Verdict", "verdict"),
        estimate_column("KL, nats/token", "kl"),
        number_column("Seeds", "seeds", 0),
        number_column("KL, std. over seeds", "kl_spread", 4),
        number_column("Same top token, %", "top1_agreement", 1, scale=100.0),
        number_column("Time, s", "wall_s", 0),
    ]


def _target(row: Row) -> str:
    """Return the target of a row; a requested depth is in the column of depths."""
    return str(row["asked"]) if "=" in str(row["asked"]) else MISSING


def _mean_depth(row: Row) -> str:
    depth = number(row["bits_paper"], 3)
    return f"{row['asked']} requested" if depth == MISSING else depth


def _protocols(table: pd.DataFrame, text_labels: Mapping[str, str]) -> list[str]:
    """Return one sentence per text: the protocols under which it was evaluated."""
    evaluated = table.dropna(subset=["protocol"])
    return [
        f"{text_labels.get(str(text), text)}: {' / '.join(dict.fromkeys(rows.protocol))}."
        for text, rows in evaluated.groupby("text", sort=False)
    ]
