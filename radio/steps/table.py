"""Build the table of an experiment from its evaluations: CSV for machines, Markdown for readers."""

from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path

import pandas as pd
from omegaconf import DictConfig

from radio.report.columns import (
    Annotations,
    downstream_markdown,
    evaluations_markdown,
    scaling_markdown,
)
from radio.report.downstream import (
    build_downstream_table,
    load_downstream_table,
    task_metrics,
)
from radio.report.experiment import paper_tables, tolerances
from radio.report.labels import cell_labels, labels, notes, task_labels, task_set
from radio.report.paper import PaperTable
from radio.report.provenance import provenance_sentence
from radio.report.scaling import StageCell, build_scaling_table, load_scaling_table, paper_times
from radio.report.table import build_table, load_table, save_table
from radio.report.writer import save_document
from radio.runtime.compose import CONFIG
from radio.runtime.manifest import recorded
from radio.runtime.outputs import output_path
from radio.workflow.variants import canonical


def run(cfg: DictConfig) -> None:
    """Read the manifests `artifacts.evaluations`; write a table to `out`, and as Markdown."""
    out = output_path(cfg.out)
    evaluations = [Path(path) for path in cfg.artifacts.evaluations]
    kinds = {"tasks": _task_table, "stages": _stage_table}
    build = next((kinds[key] for key in kinds if key in cfg.experiment), _text_table)
    with recorded("table", cfg, out, [".md"]) as (staged, measured):
        rendered, rows, missing = build(cfg, evaluations, staged)
        save_document(rendered, staged.with_suffix(".md"), readme=cfg.readme)
        measured |= {"rows": rows, "rows_missing": missing}


def _text_table(cfg: DictConfig, evaluations: list[Path], out: Path) -> tuple[str, int, int]:
    """Return the Markdown of perplexities and divergences, its rows, and its empty rows."""
    paper = paper_tables(cfg.experiment, cfg.paper, CONFIG / "paper")
    save_table(build_table(evaluations, paper), out)
    table = load_table(out)  # so that the Markdown shows the same digits as the CSV file
    annotations = _annotations(cfg, table, evaluations, labels("data", table.text), paper)
    rendered = evaluations_markdown(table, annotations)
    return rendered, len(table), int(table.perplexity.isna().sum())


def _task_table(cfg: DictConfig, evaluations: list[Path], out: Path) -> tuple[str, int, int]:
    """Return the Markdown of downstream scores, its rows, and its empty rows."""
    sets = {name: task_set(name) for name in cfg.experiment.tasks}
    metrics = {name: task_metrics(tasks) for name, tasks in sets.items()}
    paper = paper_tables(cfg.experiment, {}, CONFIG / "paper")
    save_table(build_downstream_table(evaluations, metrics, cfg.experiment.baseline, paper), out)
    table = load_downstream_table(out)
    annotations = _annotations(cfg, table, evaluations, task_labels(sets.values()), paper)
    rendered = downstream_markdown(table, annotations, cfg.experiment.baseline)
    return rendered, len(table), int(table.score.isna().sum())


def _stage_table(cfg: DictConfig, manifests: list[Path], out: Path) -> tuple[str, int, int]:
    """Return the Markdown of the stages' costs, its rows, and our empty rows."""
    spec = cfg.experiment
    cells = [(canonical(cell.method), float(rate)) for cell in spec.cells for rate in cell.rates]
    stages = [
        StageCell(model, *cell, stage)
        for model, cell, stage in product(spec.models, cells, spec.stages)
    ]
    paper = paper_times(CONFIG / "paper", spec.times.file, spec.times.method)
    rows = build_scaling_table(list(zip(stages, manifests, strict=True)), spec.total, paper)
    save_table(rows, out)
    table = load_scaling_table(out)
    rendered = scaling_markdown(
        table, _annotations(cfg, table, manifests), spec.total, spec.times.device
    )
    return rendered, len(table), int(table.wall_s[table.model.notna()].isna().sum())


def _annotations(
    cfg: DictConfig,
    table: pd.DataFrame,
    manifests: Sequence[Path],
    texts: Mapping[str, str] | None = None,
    paper: Mapping[str, PaperTable] | None = None,
) -> Annotations:
    """Return labels, caveats, tolerances and provenance; `texts` are labels of texts or tasks."""
    return Annotations(
        cfg.experiment.title,
        methods=cell_labels(cfg.experiment.name, table.method.dropna()),
        models=labels("model", table.model.dropna()),
        texts=texts or {},
        notes=notes("model", cfg.experiment.models),
        tolerances=tolerances(table, paper or {}),
        provenance=provenance_sentence(manifests),
    )
