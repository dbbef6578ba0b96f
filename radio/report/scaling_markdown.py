"""Columns and caption of the table of time and memory against model size."""

from collections.abc import Mapping, Sequence

import pandas as pd

from radio.report.scaling import PAPER
from radio.report.writer import (
    Column,
    Footnotes,
    Section,
    estimate_column,
    markdown,
    number_column,
    text_column,
)

NOTE = (
    "Time and peak memory are those of a job, without the start of its process. *Weights read* "
    "counts every read of a block; *Read from disk* counts reads that the page cache did not "
    "serve. *Share of peak* is, for calibration, its operations per second relative to a product "
    "of matrices that fit in the caches; for quantization, its bytes per second (float32 weights "
    "and result) relative to a sum over memory. Each job measures its peak. *Total* is the sum of "
    "{total}. Exponents are of time against the number of parameters, by least squares in the "
    "logarithms; ± is one standard error."
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
    """Return the table of `radio.report.scaling.build_scaling_table` as Markdown.

    Args:
        table: as built; every number in the document is a rounded number of the table.
        title: heading.
        total: stages that the total includes.
        device: the device on which the paper measured its times.
        model_labels: readers' names of the models.
        model_notes: caveats of models, by name.
        provenance: sentences on devices and versions.
    """
    footnotes = Footnotes(table.note)
    sources = {PAPER: f"the paper, {device}"}
    measured, fits = table[table.model.notna()], table[table.model.isna()]
    costs = [
        _with_source("Model", "model", sources, model_labels),
        number_column("Parameters, 10^6", "parameters", 0, scale=1e-6),
        text_column("Stage", "stage"),
        number_column("Time, s", "wall_s", 1),
        number_column("s per 10^9 parameters", "s_per_billion", 0),
        number_column("Share of peak", "share_of_peak", 3),
        number_column("Peak memory, GB", "peak_memory_bytes", 2, scale=1e-9),
        number_column("Weights read, GB", "weights_read_bytes", 2, scale=1e-9),
        number_column("Read from disk, GB", "read_bytes", 2, scale=1e-9),
        number_column("Written, GB", "written_bytes", 2, scale=1e-9),
        footnotes.column,
    ]
    growth = [
        _with_source("Stage", "stage", sources),
        estimate_column("Exponent of time", "exponent"),
        number_column("Models", "models", 0),
        footnotes.column,
    ]
    sections = [
        Section(measured.to_dict("records"), costs),
        Section(fits.to_dict("records"), growth),
    ]
    caption = [
        *footnotes.lines,
        NOTE.format(total=", ".join(total)),
        *dict.fromkeys(model_notes.values()),
        *provenance,
    ]
    return markdown(title, sections, caption)


def _with_source(
    heading: str, name: str, sources: Mapping[str, str], labels: Mapping[str, str] | None = None
) -> Column:
    """Return a column of words, each followed by its source unless the value is ours."""
    column = text_column(heading, name, labels)
    return Column(
        heading,
        lambda row: ", ".join(filter(None, [column.text(row), sources.get(row["source"])])),
    )
