"""Gather the evaluations of an experiment in a table: CSV for machines, Markdown for readers."""

from itertools import product
from pathlib import Path

from omegaconf import DictConfig

from radio.report import downstream_markdown, markdown, scaling_markdown
from radio.report.downstream import asked_of, build_downstream_table, load_downstream_table
from radio.report.experiment import paper_tables, tolerances
from radio.report.names import cell_labels, labels, notes, task_labels, task_set
from radio.report.scaling import StageOf, build_scaling_table, load_scaling_table, paper_times
from radio.report.table import build_table, load_table, save_table
from radio.runtime.compose import CONFIG
from radio.runtime.manifest import recorded
from radio.runtime.outputs import output_path
from radio.variants import canonical


def run(cfg: DictConfig) -> None:
    """The manifests `artifacts.evaluations` -> a table at `out`, and beside it as Markdown."""
    out = output_path(cfg.out)
    evaluations = [Path(path) for path in cfg.artifacts.evaluations]
    kinds = {"tasks": _of_tasks, "stages": _of_stages}
    make = next((kinds[key] for key in kinds if key in cfg.experiment), _of_texts)
    with recorded("table", cfg, out, [".md"]) as (staged, measured):
        rendered, rows, missing = make(cfg, evaluations, staged)
        markdown.save(rendered, staged.with_suffix(".md"), readme=cfg.readme)
        measured |= {"rows": rows, "rows_missing": missing}


def _of_texts(cfg: DictConfig, evaluations: list[Path], out: Path) -> tuple[str, int, int]:
    """Perplexities and divergences: the Markdown, the rows, and how many of them are empty."""
    paper = paper_tables(cfg.experiment, cfg.paper, CONFIG / "paper")
    save_table(build_table(evaluations, paper), out)
    table = load_table(out)  # so that the Markdown shows what the CSV holds
    rendered = markdown.render(
        table,
        cfg.experiment.title,
        method_labels=cell_labels(cfg.experiment.name, table.method),
        model_labels=labels("model", table.model),
        text_labels=labels("data", table.text),
        model_notes=notes("model", table.model),
        tolerances=tolerances(table, paper),
        provenance=markdown.provenance(evaluations),
    )
    return rendered, len(table), int(table.perplexity.isna().sum())


def _of_tasks(cfg: DictConfig, evaluations: list[Path], out: Path) -> tuple[str, int, int]:
    """Scores of downstream tasks: the Markdown, the rows, and how many of them are empty."""
    sets = {name: task_set(name) for name in cfg.experiment.tasks}
    asked = {name: asked_of(each) for name, each in sets.items()}
    paper = paper_tables(cfg.experiment, {}, CONFIG / "paper")
    save_table(build_downstream_table(evaluations, asked, cfg.experiment.baseline, paper), out)
    table = load_downstream_table(out)
    rendered = downstream_markdown.render(
        table,
        cfg.experiment.title,
        method_labels=cell_labels(cfg.experiment.name, table.method),
        model_labels=labels("model", table.model),
        task_labels=task_labels(sets.values()),
        model_notes=notes("model", table.model),
        tolerances=tolerances(table, paper),
        baseline=cfg.experiment.baseline,
        provenance=markdown.provenance(evaluations),
    )
    return rendered, len(table), int(table.score.isna().sum())


def _of_stages(cfg: DictConfig, manifests: list[Path], out: Path) -> tuple[str, int, int]:
    """What stages took: the Markdown, the rows, and how many of ours are empty."""
    of = cfg.experiment
    cells = [(canonical(cell.method), float(rate)) for cell in of.cells for rate in cell.rates]
    asked = [
        StageOf(model, *cell, stage) for model, cell, stage in product(of.models, cells, of.stages)
    ]
    paper = paper_times(CONFIG / "paper", of.times.file, of.times.method)
    rows = build_scaling_table(list(zip(asked, manifests, strict=True)), of.total, paper)
    save_table(rows, out)
    table = load_scaling_table(out)
    rendered = scaling_markdown.render(
        table,
        of.title,
        total=of.total,
        device=of.times.device,
        model_labels=labels("model", table.model.dropna()),
        model_notes=notes("model", of.models),
        provenance=markdown.provenance(manifests),
    )
    return rendered, len(table), int(table.wall_s[table.model.notna()].isna().sum())
