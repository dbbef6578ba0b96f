"""One table out of many manifests: a row for every cell of an experiment, measured or not."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from radio.rates import target
from radio.report.paper import PaperTable
from radio.runtime.absence import why_absent
from radio.runtime.errors import RadioError
from radio.runtime.files import atomic
from radio.runtime.manifest import manifest_path, read_manifest
from radio.variants import join, split

COLUMNS = (
    "model",
    "method",
    "bits_paper",
    "bits_true",
    "size_bytes",
    "protocol",
    "perplexity",
    "perplexity_se",
    "kl",
    "top1_agreement",
    "wall_s",
    "perplexity_increase",
    "perplexity_increase_se",
    "kl_se",
    "kl_median",
    "kl_p99",
    "tokens",
    "pruned",
    "asked",
    "loss_validation",
    "seeds",
    "perplexity_spread",
    "kl_spread",
)
# beside the column of ours that the paper's values are of
PAPER_COLUMNS = ("{}_paper", "{}_difference", "tolerance", "verdict")
# which cell a row is, where nothing was measured; `note` says why
CELL_COLUMNS = ("text", "rate_bits", "note")
COUNTS = ("size_bytes", "tokens", "seeds")
# between the notes of a row
NOTES = "; "
WORDS = ("model", "method", "protocol", "asked", "verdict", "text", "note")
# named otherwise in the manifest, where `wall_s` is the time of the evaluation itself
MEASURED_AS = {"wall_s": "wall_quantize_s"}


@dataclass(frozen=True)
class Cell:
    """What one row is about."""

    model: str
    method: str
    rate: str
    text: str

    @property
    def rate_bits(self) -> float | None:
        """Mean depth that was asked; None where it was a target."""
        return None if "=" in self.rate else float(self.rate)

    @property
    def without_seed(self) -> "Cell":
        """The cell that this one is a repetition of."""
        base, settings = split(self.method)
        return replace(self, method=join(base, {k: settings[k] for k in settings if k != "seed"}))


def cell_of(evaluation: Path) -> Cell:
    """The cell of a path `.../{model}/evaluation/{method}/{rate}/{text}.json`.

    Raises:
        RadioError: the path is not of this kind.
    """
    try:
        model, _, method, rate, name = evaluation.parts[-5:]
        cell = Cell(model, method, rate, Path(name).stem)
        if cell.rate_bits is None:
            target(*rate.split("=", 1))
        return cell
    except (ValueError, RadioError) as error:
        raise RadioError(
            f"artifacts.evaluations has {evaluation}, which does not end in "
            "MODEL/evaluation/METHOD/RATE/TEXT.json: give the paths that `radio evaluate` wrote"
        ) from error


def build_table(
    evaluations: Sequence[Path], paper: Mapping[str, PaperTable] | None = None
) -> pd.DataFrame:
    """The table of an experiment, a row for each evaluation in the order given.

    Args:
        evaluations: paths of the evaluations' manifests, whether they exist or not.
        paper: the paper's tables by text; a row that one of them knows gets its value, as
            `perplexity_paper`, `perplexity_difference`, ours less the paper's, the `tolerance` of
            the difference and the `verdict` (`radio.report.verdict`).

    Returns:
        `COLUMNS`, `PAPER_COLUMNS` if any row has a paper value, `CELL_COLUMNS`. An empty cell is
        NA, and the row's note says why. Bits are per quantized weight, KL in nats per token,
        `wall_s` what calibration, allocation and quantization took together. Cells that differ
        by their seed alone are one row, with the means over `seeds` and the standard deviations
        `kl_spread` and `perplexity_spread`.

    Raises:
        RadioError: there is no evaluation, or a path does not name a cell.
    """
    if not evaluations:
        raise RadioError("artifacts.evaluations is empty: give the manifests that the table is of")
    rows, compared = [], dict[str, None]()
    for cell, paths in repetitions(evaluations).items():
        row = _mean_over_seeds([_row(path) for path in paths])
        source = (paper or {}).get(cell.text)
        beside = {} if source is None else beside_paper(row, cell, source)
        compared |= dict.fromkeys(name for name in beside if name != "note")
        rows.append(row | beside)
    return _typed(pd.DataFrame(rows, columns=[*COLUMNS, *compared, *CELL_COLUMNS]))


def repetitions(evaluations: Iterable[Path]) -> dict[Cell, list[Path]]:
    """The evaluations of each cell, which differ by their seed alone, in the order given."""
    repeated: dict[Cell, list[Path]] = {}
    for path in evaluations:
        repeated.setdefault(cell_of(path).without_seed, []).append(path)
    return repeated


def save_table(table: pd.DataFrame, out: Path) -> None:
    """Write the table as CSV, atomically; six digits are more than any standard error leaves."""
    with atomic(out) as scratch:
        table.to_csv(scratch, index=False, float_format="%.6g")


def load_table(path: Path) -> pd.DataFrame:
    """Read a table of `save_table`.

    Raises:
        RadioError: the file is absent or is not such a table.
    """
    try:
        table = pd.read_csv(path, keep_default_na=False, na_values=[""])
    except FileNotFoundError as error:
        raise RadioError(f"{path} does not exist: make it with `radio table`") from error
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise RadioError(f"{path} is not a table ({error}): make it anew") from error
    if missing := {*COLUMNS, *CELL_COLUMNS} - set(table.columns):
        raise RadioError(f"{path} lacks the columns {sorted(missing)}: make it with `radio table`")
    return _typed(table)


def _typed(table: pd.DataFrame) -> pd.DataFrame:
    """Counts as integers that may be missing, numbers as floats, words as words."""
    kinds = {
        name: "string" if name in WORDS else "Int64" if name in COUNTS else "float64"
        for name in table.columns
    }
    return table.astype(kinds).fillna({"note": ""})


def _row(path: Path) -> dict[str, Any]:
    """What the manifest at `path` says, or why it says nothing."""
    cell = cell_of(path)
    row: dict[str, Any] = dict.fromkeys(COLUMNS)
    row |= {"model": cell.model, "method": cell.without_seed.method, "note": ""}
    row |= {"rate_bits": cell.rate_bits, "text": cell.text, "asked": cell.rate}
    if not manifest_path(path).exists():
        return row | {"note": f"not run: {why_not_run(path)}"}
    try:
        manifest = read_manifest(path)
        check_identity(manifest["measured"], cell, path)
    except RadioError as error:
        return row | {"note": f"not read: {error}"}
    measured = manifest["measured"]
    found = {name: measured.get(MEASURED_AS.get(name, name)) for name in COLUMNS}
    row |= {name: value for name, value in found.items() if value is not None}
    row |= {"method": cell.without_seed.method}
    notes = [f"not finite: {name}" for name in manifest.get("not_finite", [])]
    return row | {"note": NOTES.join(notes)}


def why_not_run(path: Path) -> str:
    """Why there is no evaluation at `path`, as far as is known."""
    folder = path.parents[3]
    reason = why_absent(folder)
    if reason is None:
        return f"{path} does not exist"
    return f"the weights of {folder.name} are not here ({reason})"


def _mean_over_seeds(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """One row for the repetitions of a cell; a failed one keeps its note and is not counted."""
    measured = [row for row in rows if row["perplexity"] is not None and row["kl"] is not None]
    if len(rows) == 1 or not measured:
        return rows[0]
    table = pd.DataFrame(measured)
    means = table.select_dtypes("number").mean()
    numbers = {str(name): value for name, value in means.items()}
    numbers |= {name: round(numbers[name]) for name in COUNTS if name in numbers}
    several = len(table) > 1
    return {
        **measured[0],
        **numbers,
        **{f"{name}_spread": table[name].std() for name in ("perplexity", "kl") if several},
        "seeds": len(measured),
        "note": NOTES.join(dict.fromkeys(row["note"] for row in rows if row["note"])),
    }


def check_identity(measured: Mapping[str, Any], cell: Cell, path: Path) -> None:
    """A manifest moved to another cell's place must not pass for it."""
    named = (measured.get("model"), measured.get("method"))
    if named != (cell.model, split(cell.method)[0]):
        raise RadioError(f"{path} is about {named}: delete it and run again")


def beside_paper(row: Mapping[str, Any], cell: Cell, paper: PaperTable) -> dict[str, Any]:
    """What the paper adds to a row, with what is to be known of it; nothing if it has no value."""
    if cell.rate_bits is None:
        return {}
    named = (cell.model, cell.method, cell.rate_bits)
    value, ours = paper.value(*named, row["protocol"] or ""), row[paper.quantity]
    if value is None:
        return {}
    spread, seeds = row.get(f"{paper.quantity}_spread"), row["seeds"] or 1
    judged = paper.judge(*named, paper=value, ours=ours, spread=spread, seeds=seeds)
    found = (value, *judged)
    names = (name.format(paper.quantity) for name in PAPER_COLUMNS)
    notes = [row["note"], *paper.notes(*named)]
    return {**dict(zip(names, found, strict=True)), "note": NOTES.join(filter(None, notes))}
