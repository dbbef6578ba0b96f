"""Gather the evaluations of an experiment in a table: CSV for machines, Markdown for readers."""

from pathlib import Path

from omegaconf import DictConfig

from radio.report import markdown
from radio.report.experiment import paper_tables, tolerances
from radio.report.names import cell_labels, labels, notes
from radio.report.table import build_table, load_table, save_table
from radio.runtime.compose import CONFIG
from radio.runtime.manifest import recorded


def run(cfg: DictConfig) -> None:
    """The manifests `artifacts.evaluations` -> a table at `out`, and beside it as Markdown."""
    out = Path(cfg.out)
    evaluations = [Path(path) for path in cfg.artifacts.evaluations]
    with recorded("table", cfg, out) as measured:
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
        markdown.save(rendered, out.with_suffix(".md"), readme=cfg.readme)
        measured |= {"rows": len(table), "rows_missing": int(table.perplexity.isna().sum())}
