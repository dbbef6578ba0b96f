"""The paper's tables that an experiment's YAML puts beside its texts."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from radio.rates import rate_text
from radio.report.paper import PaperTable, Study, load_paper_table
from radio.report.verdict import Tolerance
from radio.variants import canonical


def paper_tables(
    experiment: Mapping[str, Any], default: Mapping[str, Any], folder: Path
) -> dict[str, PaperTable]:
    """The paper's tables by text or task.

    Args:
        experiment: its YAML. `paper` says by text or task which file stands beside it, with the
            other arguments of `load_paper_table`; a cell's `paper` what the file's columns have
            there, or a list of these where the paper prints one configuration several times.
        default: what takes the place of `paper` in an experiment without one.
        folder: where the files are.

    Raises:
        RadioError: a file is absent or lacks a column or row that a cell asks for.
    """
    studies = [
        Study(canonical(cell["method"]), float(rate_text(rate)), dict(columns))
        for cell in experiment["cells"]
        for columns in _several(cell.get("paper", []))
        for rate in cell.get("rates", experiment.get("rates"))
    ]
    return {
        str(text): load_paper_table(
            folder / source["file"],
            source.get("protocol", "*"),
            source.get("quantity", "perplexity"),
            source.get("model"),
            source.get("bits"),
            studies,
            source.get("percent"),
            source.get("where"),
        )
        for text, source in experiment.get("paper", default).items()
    }


def tolerances(table: pd.DataFrame, paper: Mapping[str, PaperTable]) -> list[tuple[str, Tolerance]]:
    """Methods of a table of texts or of tasks, each with the tolerances it was judged by."""
    if "verdict" not in table:
        return []
    key = "text" if "text" in table else "task"
    judged = table[table.tolerance.notna()]
    found = [
        (method, paper[on].tolerance(model, method, rate_bits))
        for model, on, method, rate_bits in zip(
            judged.model, judged[key], judged.method, judged.rate_bits, strict=True
        )
    ]
    return list(dict.fromkeys(found))


def _several(columns: Any) -> list[Any]:
    return [columns] if isinstance(columns, Mapping) else list(columns)
