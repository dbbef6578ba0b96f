"""The paper's tables that an experiment's YAML compares its values with."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from radio.rate import rate_text
from radio.report.paper import PaperRowSelector, PaperTable, load_paper_table
from radio.report.verdict import Tolerance
from radio.workflow.variants import canonical


def paper_tables(
    experiment: Mapping[str, Any], default: Mapping[str, Any], folder: Path
) -> dict[str, PaperTable]:
    """Return the paper's tables by text or task.

    Args:
        experiment: content of its YAML. `paper` maps a text or task to the file of the paper's
            values and the other arguments of `load_paper_table`. A cell's `paper` selects rows of
            this file; it is a list where the paper prints one configuration several times.
        default: replaces `paper` in an experiment without it.
        folder: folder of the files.

    Raises:
        RadioError: a file is absent or lacks a column or a selected row.
    """
    selectors = [
        PaperRowSelector(canonical(cell["method"]), float(rate_text(rate)), dict(columns))
        for cell in experiment["cells"]
        for columns in _as_list(cell.get("paper", []))
        for rate in cell.get("rates", experiment.get("rates"))
    ]
    return {
        str(text): load_paper_table(
            folder / source["file"],
            source.get("protocol", "*"),
            source.get("quantity", "perplexity"),
            source.get("model"),
            source.get("bits"),
            selectors,
            source.get("percent"),
            source.get("where"),
        )
        for text, source in experiment.get("paper", default).items()
    }


def tolerances(table: pd.DataFrame, paper: Mapping[str, PaperTable]) -> list[tuple[str, Tolerance]]:
    """Return the methods of a table of evaluations or tasks, with the tolerances that applied."""
    if "verdict" not in table:
        return []
    key = "text" if "text" in table else "task"
    judged = table[table.tolerance.notna()]
    applied = [
        (method, paper[name].tolerance(model, method, rate_bits))
        for model, name, method, rate_bits in zip(
            judged.model, judged[key], judged.method, judged.rate_bits, strict=True
        )
    ]
    return list(dict.fromkeys(applied))


def _as_list(columns: Any) -> list[Any]:
    return [columns] if isinstance(columns, Mapping) else list(columns)
