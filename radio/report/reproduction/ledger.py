"""The ledger: a row per value of the paper, with our value, the verdict and its provenance."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pandas as pd

from radio.report.formatting import join_notes
from radio.report.paper import UNITS, PaperTable
from radio.report.provenance import COLUMNS as PROVENANCE
from radio.report.provenance import provenance_columns
from radio.report.reproduction.cells import PaperCell
from radio.report.verdict import NOT_COMPARABLE, NOT_RUN
from radio.runtime.errors import RadioError

COLUMNS = (
    "table",
    "cell",
    "quantity",
    "paper",
    "ours",
    "difference",
    "tolerance",
    "verdict",
    "our_method",
    "bpw",
    "protocol",
    "wall_s",
    *PROVENANCE,
    "experiment",
    "note",
)
NUMBERS = ("paper", "ours", "difference", "tolerance", "bpw", "wall_s", "peak_memory_bytes")


@dataclass(frozen=True)
class OurValue:
    """A value of ours for a cell of the paper, measured or not.

    Attributes:
        experiment: the experiment that measures it.
        model: name of the model.
        method: variant of the method, without its seed.
        rate_bits: requested mean depth.
        value: in our unit; None if it was not measured, and `note` says why.
        spread: standard deviation over seeds; None for a single seed.
        seeds: number of seeds.
        bpw: bits per weight with all side information.
        protocol: label of the perplexity's protocol.
        wall_s: seconds of quantization and of the steps that it needs.
        note: remarks on the value.
        manifests: manifests of all jobs that produced it.
    """

    experiment: str
    model: str
    method: str
    rate_bits: float
    value: float | None
    spread: float | None = None
    seeds: int = 1
    bpw: float | None = None
    protocol: str = ""
    wall_s: float | None = None
    note: str = ""
    manifests: Sequence[Path] = ()


@dataclass(frozen=True)
class Comparison:
    """A table of the paper and our values for it.

    Attributes:
        paper: the paper's values under our names.
        ours: our candidates for a cell, by row and column of the paper's file; the first candidate
            that was measured counts.
        device: a word in the name of the only comparable device; "" if all are comparable.
    """

    paper: PaperTable
    ours: Mapping[tuple[int, str], Sequence[OurValue]]
    device: str = ""


def build_ledger(
    cells: Sequence[PaperCell], comparisons: Mapping[str, Comparison | None]
) -> pd.DataFrame:
    """Return a row for each cell, in their order; `comparisons` are by name of the table."""
    rows = [_row(cell, comparisons.get(cell.table)) for cell in cells]
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    kinds = {name: "float64" if name in NUMBERS else "string" for name in COLUMNS}
    return table.astype(kinds).fillna({name: "" for name in COLUMNS if name not in NUMBERS})


def _row(cell: PaperCell, comparison: Comparison | None) -> dict[str, Any]:
    row: dict[str, Any] = {
        "table": cell.table,
        "cell": ", ".join(f"{name} {_plain(value)}" for name, value in cell.keys.items()),
        "quantity": cell.quantity,
        "paper": cell.paper,
        "verdict": NOT_RUN,
    }
    if comparison is None:
        return row | {"note": "not run: no experiment of the suite has this table yet"}
    candidates = comparison.ours.get((cell.row, cell.quantity), ())
    if not candidates:
        return row | {"note": f"not run: the suite has no {_uncovered(cell)} in this table"}
    measured = (candidate for candidate in candidates if candidate.value is not None)
    return row | _our_columns(cell, comparison, next(measured, candidates[0]))


def _our_columns(cell: PaperCell, comparison: Comparison, ours: OurValue) -> dict[str, Any]:
    """Return the columns that our value adds to a row, all in the paper's unit."""
    paper, key = comparison.paper, (ours.model, ours.method, ours.rate_bits)
    factor = UNITS.get(cell.quantity, (cell.quantity, 1.0))[1]
    columns: dict[str, Any] = {
        "our_method": ours.method,
        "bpw": ours.bpw,
        "protocol": ours.protocol,
        "wall_s": ours.wall_s,
        "experiment": ours.experiment,
    }
    notes = [ours.note, *paper.notes(*key)]
    if ours.value is None:
        return columns | {"note": join_notes(notes)}
    columns |= provenance_columns(ours.manifests)
    judgement = paper.judge(
        *key, paper=factor * cell.paper, ours=ours.value, spread=ours.spread, seeds=ours.seeds
    )
    mismatch = _mismatch(comparison, ours.protocol, columns["device"] or "")
    tolerance = judgement.tolerance
    assert judgement.difference is not None
    return columns | {
        "ours": ours.value / factor,
        "difference": judgement.difference / factor,
        "tolerance": None if tolerance is None or mismatch else tolerance / factor,
        "verdict": NOT_COMPARABLE if mismatch else judgement.verdict,
        "note": join_notes([*notes, mismatch]),
    }


def _mismatch(comparison: Comparison, protocol: str, device: str) -> str:
    """Return why the conditions of our value differ from the paper's; "" if they do not."""
    if comparison.device and comparison.device not in device:
        return f"the paper's device is another ({comparison.device})"
    if not fnmatchcase(protocol, comparison.paper.protocol):
        return f"the paper's protocol is another ({comparison.paper.protocol})"
    return ""


def _uncovered(cell: PaperCell) -> str:
    """Return the method, variant, hyperparameter or matrix that an uncovered cell lacks.

    Raises:
        RadioError: the cell has no keys.
    """
    for name in ("method", "variant", "hyperparameter", "matrix"):
        if name in cell.keys:
            return f"{name} {cell.keys[name]}"
    raise RadioError(f"{cell.table} has cells without a method: restore its file from git")


def _plain(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
