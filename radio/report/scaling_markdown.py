"""The table of times and memory against size, for reading."""

from collections.abc import Mapping, Sequence

import pandas as pd

from radio.report.scaling import PAPER
from radio.report.wording import (
    MISSING,
    marked,
    number,
    scaled,
    shared_notes,
    table_lines,
    with_error,
)

NOTE = (
    "Time and peak memory are those of a job, without the start of its process. *Weights read* "
    "counts every reading of a block; *from disk* came what the system had not in memory any more. "
    "*Share of peak*: of calibration, its operations a second in those of a product of matrices "
    "that fit in the caches; of quantization, its float32 weights and result in what a sum reads "
    "from memory, both measured in the job. "
    "*Total* is that of {total}. Exponents are those of time against parameters, by least squares "
    "in the logarithms; ± is one standard error."
)


def render(
    table: pd.DataFrame,
    title: str,
    *,
    total: Sequence[str],
    device: str,
    model_labels: Mapping[str, str],
    model_notes: Mapping[str, str],
    provenance: Sequence[str],
) -> str:
    """A Markdown document with the table of `radio.report.scaling.build_scaling_table`.

    Args:
        table: as built; every number in the result is one of its numbers, rounded.
        title: heading.
        total: stages that the total is of.
        device: what the paper's times were measured on.
        model_labels: what readers call the models, by name.
        model_notes: caveats of models, by name.
        provenance: lines on devices and versions.
    """
    notes = shared_notes(table.note)
    whose = {PAPER: f"the paper, {device}"}
    measured, fits = table[table.model.notna()], table[table.model.isna()]
    rows = [
        {
            "Model": ", ".join(
                filter(
                    None, [model_labels.get(row["model"], row["model"]), whose.get(row["source"])]
                )
            ),
            "Parameters, 10^6": number(scaled(row["parameters"], 1e-6), 0),
            "Stage": str(row["stage"]),
            "Time, s": number(row["wall_s"], 1),
            "s per 10^9 parameters": number(row["s_per_billion"], 0),
            "Share of peak": number(row["share_of_peak"], 3),
            "Peak memory, GB": number(scaled(row["peak_memory_bytes"], 1e-9), 2),
            "Weights read, GB": number(scaled(row["weights_read_bytes"], 1e-9), 2),
            "Read from disk, GB": number(scaled(row["read_bytes"], 1e-9), 2),
            "Written, GB": number(scaled(row["written_bytes"], 1e-9), 2),
            "Note": marked(row["note"], notes) or MISSING,
        }
        for row in measured.to_dict("records")
    ]
    growth = [
        {
            "Stage": ", ".join(filter(None, [str(row["stage"]), whose.get(row["source"])])),
            "Exponent of time": with_error(row["exponent"], row["exponent_se"]),
            "Models": str(row["models"]),
            "Note": marked(row["note"], notes) or MISSING,
        }
        for row in fits.to_dict("records")
    ]
    caption = [
        *(f"[{mark}] {note}" for note, mark in notes.items()),
        NOTE.format(total=", ".join(total)),
        *dict.fromkeys(model_notes.values()),
        *provenance,
    ]
    lines = [*table_lines(rows), "", *table_lines(growth)]
    return "\n".join([f"### {title}", "", *lines, "", *(f"{line}  " for line in caption)]) + "\n"
