"""Compare every value of the paper's tables with ours: CSV for machines, a page for readers."""

from typing import Any

from omegaconf import DictConfig

from radio.report.reproduction.cells import paper_cells
from radio.report.reproduction.ledger import build_ledger
from radio.report.reproduction.page import page
from radio.report.table import save_table
from radio.report.writer import save_document
from radio.runtime.compose import CONFIG
from radio.runtime.manifest import recorded, resolved
from radio.runtime.outputs import output_path
from radio.workflow import JobGraph
from radio.workflow.reproduction import comparison_of


def run(cfg: DictConfig) -> None:
    """Read the manifests under `results`; write the ledger to `out`, and as an HTML page."""
    out = output_path(cfg.out)
    with recorded("ledger", cfg, out, [".html"]) as (staged, measured):
        plan = JobGraph()
        specs: dict[str, Any] = resolved(cfg.tables)
        with_values = {name: spec for name, spec in specs.items() if spec["file"]}
        cells = [
            cell
            for name, spec in with_values.items()
            for cell in paper_cells(name, CONFIG / "paper" / spec["file"])
        ]
        comparisons = {name: comparison_of(plan, spec) for name, spec in with_values.items()}
        ledger = build_ledger(cells, comparisons)
        save_table(ledger, staged)
        save_document(page(ledger, specs), staged.with_suffix(".html"))
        measured |= {"cells": len(ledger)}
        measured |= {f"cells {name}": int(n) for name, n in ledger.verdict.value_counts().items()}
