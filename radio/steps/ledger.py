"""Put every value of the paper's tables beside ours: CSV for machines, a page for readers."""

from typing import Any

from omegaconf import DictConfig

from radio.experiments import Plan
from radio.experiments.ledger import side_of
from radio.report.ledger.cells import paper_cells
from radio.report.ledger.ledger import build_ledger, save_ledger
from radio.report.ledger.page import page, save_page
from radio.runtime.compose import CONFIG
from radio.runtime.manifest import recorded, resolved
from radio.runtime.outputs import output_path


def run(cfg: DictConfig) -> None:
    """The manifests under `results` -> the ledger at `out`, and beside it as HTML."""
    out = output_path(cfg.out)
    with recorded("ledger", cfg, out, [".html"]) as (staged, measured):
        plan = Plan()
        specs: dict[str, Any] = resolved(cfg.tables)
        with_values = {name: spec for name, spec in specs.items() if spec["file"]}
        cells = [
            cell
            for name, spec in with_values.items()
            for cell in paper_cells(name, CONFIG / "paper" / spec["file"])
        ]
        sides = {name: side_of(plan, spec) for name, spec in with_values.items()}
        ledger = build_ledger(cells, sides)
        save_ledger(ledger, staged)
        save_page(page(ledger, specs), staged.with_suffix(".html"))
        measured |= {"cells": len(ledger)}
        measured |= {f"cells {word}": int(n) for word, n in ledger.verdict.value_counts().items()}
