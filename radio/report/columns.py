"""Columns and captions of the tables of evaluations, of downstream tasks and of scaling."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import pandas as pd

from radio.evaluate.downstream.scores import PERPLEXITY
from radio.report.formatting import MISSING, allowances, number
from radio.report.scaling import PAPER
from radio.report.verdict import Tolerance
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

EVALUATIONS_NOTE = (
    "*Mean depth* is the mean bit depth, as the paper quotes it; *bpw* (bits per weight) counts "
    "everything that a decoder needs: depths, scales, locations, row order, biases. Both are per "
    "quantized weight. ± is one standard error over sequences; that of the increase over FP16 is "
    "paired, and is the one for comparing methods. KL divergence is from the FP16 model's "
    "distribution. Time covers calibration, measured distortions, search, allocation and "
    "quantization, as far as a method uses them."
)
DOWNSTREAM_NOTE = (
    "± is one standard error over items; that of the change is paired item by item, and is the "
    "one for comparing methods. *Mean depth* is the mean bit depth, as the paper quotes it; *bpw* "
    "(bits per weight) counts everything that a decoder needs. Both are per quantized weight."
)
SCALING_NOTE = (
    "Time and peak memory are those of a job, without the start of its process. *Weights read* "
    "counts every read of a block; *Read from disk* counts reads that the page cache did not "
    "serve. *Share of peak* is, for calibration, its operations per second relative to a product "
    "of matrices that fit in the caches; for quantization, its bytes per second (float32 weights "
    "and result) relative to a sum over memory. Each job measures its peak. *Total* is the sum of "
    "{total}. Exponents are of time against the number of parameters, by least squares in the "
    "logarithms; ± is one standard error."
)
METRICS = {
    "acc": "accuracy, %",
    "acc_norm": "accuracy by log-likelihood per character, %",
    "exact_match": "exact match, %",
    PERPLEXITY: "perplexity per word",
}


@dataclass(frozen=True)
class Annotations:
    """The texts around the numbers of a table.

    Attributes:
        title: heading of the document.
        methods: readers' names of the methods.
        models: readers' names of the models.
        texts: readers' names of the texts or tasks.
        notes: caveats of models, by name.
        tolerances: methods with the tolerances by which they were judged.
        provenance: sentences on devices and versions.
    """

    title: str
    methods: Mapping[str, str] = field(default_factory=dict)
    models: Mapping[str, str] = field(default_factory=dict)
    texts: Mapping[str, str] = field(default_factory=dict)
    notes: Mapping[str, str] = field(default_factory=dict)
    tolerances: Sequence[tuple[str, Tolerance]] = ()
    provenance: Sequence[str] = ()

    def caption(self, note: str, settings: Iterable[str] = ()) -> list[str]:
        """Return the paragraphs below the table; a caveat of several models has no names."""
        shared = Counter(self.notes.values())
        caveats = [
            caveat if shared[caveat] > 1 else f"{self.models.get(name, name)}: {caveat}"
            for name, caveat in self.notes.items()
        ]
        allowed = allowances(self.tolerances, self.methods)
        return [note, *allowed, *settings, *dict.fromkeys(caveats), *self.provenance]


def evaluations_markdown(table: pd.DataFrame, annotations: Annotations) -> str:
    """Return the table of `radio.report.table.build_table` as Markdown, with rounded numbers."""
    footnotes = Footnotes(table.note)
    columns = [
        text_column("Model", "model", annotations.models),
        text_column("Text", "text", annotations.texts),
        text_column("Method", "method", annotations.methods),
        *_evaluation_columns("pruned" if "pruned_paper" in table else "perplexity"),
        footnotes.column,
    ]
    protocols = [
        f"{annotations.texts.get(str(text), text)}: {' / '.join(dict.fromkeys(rows.protocol))}."
        for text, rows in table.dropna(subset=["protocol"]).groupby("text", sort=False)
    ]
    caption = [*footnotes.lines, *annotations.caption(EVALUATIONS_NOTE, protocols)]
    return markdown(annotations.title, [Section(table.to_dict("records"), columns)], caption)


def _evaluation_columns(compared: str) -> list[Column]:
    """Return the columns of numbers; `compared` is the quantity that the paper reports."""
    percent = 100.0 if compared == "pruned" else 1.0
    pruned = [number_column("Pruned, %", "pruned", 2, scale=100.0)] if percent > 1 else []
    return [
        Column("Target", _target, "number"),
        number_column("Achieved (validation)", "loss_validation", 4),
        Column("Mean depth", _mean_depth, "number"),
        number_column("bpw", "bpw", 3),
        number_column("Size, MB", "size_bytes", 1, scale=1e-6),
        estimate_column("Perplexity", "perplexity"),
        estimate_column("Increase over FP16", "perplexity_increase"),
        *pruned,
        *_paper_columns(compared, percent),
        estimate_column("KL, nats/token", "kl"),
        number_column("Seeds", "seeds", 0),
        number_column("KL, std. over seeds", "kl_spread", 4),
        number_column("Same top token, %", "top1_agreement", 1, scale=100.0),
        number_column("Time, s", "wall_s", 0),
    ]


def _paper_columns(quantity: str, scale: float) -> list[Column]:
    """Return the columns that compare a quantity with the paper's."""
    return [
        number_column("Paper", f"{quantity}_paper", 2, scale=scale),
        number_column("Ours − paper", f"{quantity}_difference", 2, scale=scale, sign="+"),
        number_column("Tolerance", "tolerance", 2, scale=scale),
        text_column("Verdict", "verdict"),
    ]


def _target(row: Row) -> str:
    """Return the target of a row; a requested depth is in the column of depths."""
    return str(row["asked"]) if "=" in str(row["asked"]) else MISSING


def _mean_depth(row: Row) -> str:
    """Return the mean depth; the requested rate of a row that was not run."""
    depth = number(row["mean_depth"], 3)
    return f"{row['asked']} requested" if depth == MISSING else depth


def downstream_markdown(table: pd.DataFrame, annotations: Annotations, baseline: str) -> str:
    """Return the table of `radio.report.downstream.build_downstream_table` as Markdown.

    Each task and metric has a section; `baseline` is the method from which changes are measured.
    """
    footnotes = Footnotes(table.note)
    models = [
        text_column("Model", "model", annotations.models),
        text_column("Method", "method", annotations.methods),
        Column("Mean depth", _mean_depth_of_task, "number"),
        number_column("bpw", "bpw", 3),
    ]
    change = f"Change from {annotations.methods.get(baseline, baseline)}"
    sections = [
        Section(
            rows.to_dict("records"),
            [*models, *_score_columns(str(metric), change), footnotes.column],
            f"{annotations.texts.get(str(task), task)}: {METRICS.get(str(metric), metric)}",
        )
        for (task, metric), rows in table.groupby(["task", "metric"], sort=False)
    ]
    settings = [
        f"{annotations.texts.get(str(task), task)}: {row['items']} items, {row['shots']} shots, "
        f"version {row['version']}, BOS {row['bos']}, lm-eval {row['lm_eval']}."
        for task, rows in table.dropna(subset=["items"]).groupby("task", sort=False)
        for row in [rows.iloc[0]]
    ]
    caption = [*footnotes.lines, *annotations.caption(DOWNSTREAM_NOTE, settings)]
    return markdown(annotations.title, sections, caption)


def _score_columns(metric: str, change: str) -> list[Column]:
    """Return the columns of scores; those of shares are in percent."""
    scale = 1.0 if metric == PERPLEXITY else 100.0
    return [
        estimate_column("Score", "score", scale=scale),
        estimate_column(change, "change", scale=scale),
        *_paper_columns("score", scale),
    ]


def _mean_depth_of_task(row: Row) -> str:
    """Return the mean depth; the requested rate of a row that was not run."""
    depth = number(row["mean_depth"], 3)
    return number(row["rate_bits"], 3) if depth == MISSING else depth


def scaling_markdown(
    table: pd.DataFrame, annotations: Annotations, total: Sequence[str], device: str
) -> str:
    """Return the table of `radio.report.scaling.build_scaling_table` as Markdown.

    Args:
        table: as built; the document has its numbers, rounded.
        annotations: labels and caption.
        total: stages that the total includes.
        device: the device on which the paper measured its times.
    """
    footnotes = Footnotes(table.note)
    sources = {PAPER: f"the paper, {device}"}
    measured, fits = table[table.model.notna()], table[table.model.isna()]
    costs = [
        _with_source(text_column("Model", "model", annotations.models), sources),
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
        _with_source(text_column("Stage", "stage"), sources),
        estimate_column("Exponent of time", "exponent"),
        number_column("Models", "models", 0),
        footnotes.column,
    ]
    sections = [
        Section(measured.to_dict("records"), costs),
        Section(fits.to_dict("records"), growth),
    ]
    caption = annotations.caption(SCALING_NOTE.format(total=", ".join(total)))
    return markdown(annotations.title, sections, [*footnotes.lines, *caption])


def _with_source(column: Column, sources: Mapping[str, str]) -> Column:
    """Return a column whose words are followed by their source, unless the value is ours."""
    return Column(
        column.heading,
        lambda row: ", ".join(filter(None, [column.text(row), sources.get(row["source"])])),
    )
