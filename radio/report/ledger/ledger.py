"""The ledger: a row for every value of the paper, with ours, the verdict, and how ours was made."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pandas as pd

from radio.report.ledger.cells import PaperCell
from radio.report.ledger.made import COLUMNS as MADE
from radio.report.ledger.made import made_by
from radio.report.paper import UNITS, PaperTable
from radio.report.table import NOTES
from radio.report.verdict import NOT_COMPARABLE, NOT_RUN
from radio.runtime.errors import RadioError
from radio.runtime.files import atomic

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
    "bits_true",
    "protocol",
    "wall_s",
    *MADE,
    "experiment",
    "note",
)
NUMBERS = ("paper", "ours", "difference", "tolerance", "bits_true", "wall_s", "peak_memory_bytes")


@dataclass(frozen=True)
class Ours:
    """What stands on our side of a cell, measured or not.

    Attributes:
        experiment: that has it.
        model: name of the model.
        method: variant, without its seed.
        rate_bits: mean depth that was asked.
        value: in our unit; None where there is none, and `note` says why.
        spread: standard deviation over seeds, where there are several.
        seeds: their number.
        bits_true: bits a weight with all side information.
        protocol: label of a perplexity.
        wall_s: time of quantization with all that it needs.
        note: what is to be said of it.
        manifests: of all jobs behind it.
    """

    experiment: str
    model: str
    method: str
    rate_bits: float
    value: float | None
    spread: float | None = None
    seeds: int = 1
    bits_true: float | None = None
    protocol: str = ""
    wall_s: float | None = None
    note: str = ""
    manifests: Sequence[Path] = ()


@dataclass(frozen=True)
class Side:
    """Our side of a table of the paper.

    Attributes:
        paper: its values under our names.
        ours: by row and column of its file, what may stand beside it; the first that was run
            counts.
        device: a word in the name of the only device whose values compare; "" if any does.
    """

    paper: PaperTable
    ours: Mapping[tuple[int, str], Sequence[Ours]]
    device: str = ""


def build_ledger(cells: Sequence[PaperCell], sides: Mapping[str, Side | None]) -> pd.DataFrame:
    """A row for each of the `cells`, in their order; `sides` are those of the tables by name."""
    rows = [_row(cell, sides.get(cell.table)) for cell in cells]
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    kinds = {name: "float64" if name in NUMBERS else "string" for name in COLUMNS}
    return table.astype(kinds).fillna({name: "" for name in COLUMNS if name not in NUMBERS})


def save_ledger(ledger: pd.DataFrame, out: Path) -> None:
    """Write the ledger as CSV, atomically."""
    with atomic(out) as scratch:
        ledger.to_csv(scratch, index=False, float_format="%.6g")


def _row(cell: PaperCell, side: Side | None) -> dict[str, Any]:
    row: dict[str, Any] = {
        "table": cell.table,
        "cell": ", ".join(f"{name} {_plain(value)}" for name, value in cell.keys.items()),
        "quantity": cell.quantity,
        "paper": cell.paper,
        "verdict": NOT_RUN,
    }
    if side is None:
        return row | {"note": "not run: no experiment of the suite has this table yet"}
    candidates = side.ours.get((cell.row, cell.quantity), ())
    if not candidates:
        return row | {"note": f"not run: the suite has no {_what(cell)} in this table"}
    ours = next((each for each in candidates if each.value is not None), candidates[0])
    return row | _beside(cell, side, ours)


def _beside(cell: PaperCell, side: Side, ours: Ours) -> dict[str, Any]:
    """What our value adds to a row, all in the paper's unit."""
    paper, named = side.paper, (ours.model, ours.method, ours.rate_bits)
    factor = UNITS.get(cell.quantity, (cell.quantity, 1.0))[1]
    found: dict[str, Any] = {
        "our_method": ours.method,
        "bits_true": ours.bits_true,
        "protocol": ours.protocol,
        "wall_s": ours.wall_s,
        "experiment": ours.experiment,
    }
    notes = [ours.note, *paper.notes(*named)]
    if ours.value is None:
        return found | {"note": _joined(notes)}
    found |= made_by(ours.manifests)
    judged = paper.judge(
        *named,
        paper=factor * cell.paper,
        ours=ours.value,
        spread=ours.spread,
        seeds=ours.seeds,
    )
    elsewhere = _elsewhere(paper, side.device, ours.protocol, found["device"] or "")
    allowed = None if judged.tolerance is None or elsewhere else judged.tolerance / factor
    assert judged.difference is not None
    return found | {
        "ours": ours.value / factor,
        "difference": judged.difference / factor,
        "tolerance": allowed,
        "verdict": NOT_COMPARABLE if elsewhere else judged.verdict,
        "note": _joined([*notes, elsewhere]),
    }


def _elsewhere(paper: PaperTable, wanted: str, protocol: str, device: str) -> str:
    """Why a value that was measured under other circumstances does not compare; "" if it does."""
    if wanted and wanted not in device:
        return f"the paper's device is another ({wanted})"
    if not fnmatchcase(protocol, paper.protocol):
        return f"the paper's protocol is another ({paper.protocol})"
    return ""


def _what(cell: PaperCell) -> str:
    """What of a cell the suite would have to have, to have the cell.

    Raises:
        RadioError: the cell has no keys.
    """
    for name in ("method", "variant", "hyperparameter", "matrix"):
        if name in cell.keys:
            return f"{name} {cell.keys[name]}"
    raise RadioError(f"{cell.table} has cells without a method: restore its file from git")


def _plain(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _joined(notes: Sequence[str]) -> str:
    return NOTES.join(dict.fromkeys(filter(None, notes)))
