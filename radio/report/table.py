"""The table of evaluations: a row for every cell of an experiment, measured or not."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from radio.rate import target
from radio.report.formatting import join_notes
from radio.report.paper import PaperTable
from radio.runtime.errors import RadioError
from radio.runtime.files import atomic
from radio.runtime.manifest import manifest_path, read_manifest
from radio.runtime.unavailable import why_unavailable
from radio.workflow.variants import join, split

COLUMNS = (
    "model",
    "method",
    "mean_depth",
    "bpw",
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
# added where the paper has a value; `{}` is the compared quantity
PAPER_COLUMNS = ("{}_paper", "{}_difference", "tolerance", "verdict")
# identify the cell of a row; `note` says why a value is missing
CELL_COLUMNS = ("text", "rate_bits", "note")
COUNTS = ("size_bytes", "tokens", "seeds")
WORDS = ("model", "method", "protocol", "asked", "verdict", "text", "note")
# names in the manifest that differ; its `wall_s` is the time of the evaluation itself
MEASURED_AS = {"wall_s": "wall_quantize_s"}


@dataclass(frozen=True)
class Cell:
    """The cell of an experiment that one row reports."""

    model: str
    method: str
    rate: str
    text: str

    @property
    def rate_bits(self) -> float | None:
        """Requested mean depth; None if the rate is a target."""
        return None if "=" in self.rate else float(self.rate)

    @property
    def without_seed(self) -> "Cell":
        """The cell without its seed: repetitions differ by the seed only."""
        base, settings = split(self.method)
        return replace(self, method=join(base, {k: settings[k] for k in settings if k != "seed"}))


def cell_of(evaluation: Path) -> Cell:
    """Return the cell of a path `.../{model}/evaluation/{method}/{rate}/{text}.json`.

    Raises:
        RadioError: the path has another form.
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
    """Return the table of an experiment, a row for each cell in the given order.

    Args:
        evaluations: paths of the evaluations' manifests, which need not exist.
        paper: the paper's tables by text. A row with a value in one of them gets
            `perplexity_paper`, `perplexity_difference` (ours minus the paper's), the `tolerance`
            of the difference, and the `verdict` (`radio.report.verdict`).

    Returns:
        `COLUMNS`, `PAPER_COLUMNS` if any row has a value of the paper, and `CELL_COLUMNS`. A
        missing value is NA, and the row's note says why. Bits are per quantized weight, KL is in
        nats per token, and `wall_s` is the time of calibration, allocation and quantization. Cells
        that differ by the seed only share a row, with means over `seeds` and the standard
        deviations `kl_spread` and `perplexity_spread`.

    Raises:
        RadioError: `evaluations` is empty, or a path does not name a cell.
    """
    if not evaluations:
        raise RadioError("artifacts.evaluations is empty: give the manifests of the evaluations")
    rows, compared = [], dict[str, None]()
    for cell, paths in repetitions(evaluations).items():
        row = _mean_over_seeds([_row(path) for path in paths])
        source = (paper or {}).get(cell.text)
        added = {} if source is None else paper_columns(row, cell, source)
        compared |= dict.fromkeys(name for name in added if name != "note")
        rows.append(row | added)
    return _typed(pd.DataFrame(rows, columns=[*COLUMNS, *compared, *CELL_COLUMNS]))


def repetitions(evaluations: Iterable[Path]) -> dict[Cell, list[Path]]:
    """Return the evaluations of each cell, which differ by the seed only, in the given order."""
    repeated: dict[Cell, list[Path]] = {}
    for path in evaluations:
        repeated.setdefault(cell_of(path).without_seed, []).append(path)
    return repeated


def save_table(table: pd.DataFrame, out: Path) -> None:
    """Write the table as CSV, atomically, with six significant digits."""
    with atomic(out) as scratch:
        table.to_csv(scratch, index=False, float_format="%.6g")


def load_table(path: Path) -> pd.DataFrame:
    """Return a table written by `save_table`.

    Raises:
        RadioError: the file is absent or is not a table of evaluations.
    """
    try:
        table = pd.read_csv(path, keep_default_na=False, na_values=[""])
    except FileNotFoundError as error:
        raise RadioError(f"{path} does not exist: run `radio table`") from error
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise RadioError(f"{path} is not a table ({error}): rerun `radio table`") from error
    if missing := {*COLUMNS, *CELL_COLUMNS} - set(table.columns):
        raise RadioError(f"{path} lacks the columns {sorted(missing)}: rerun `radio table`")
    return _typed(table)


def _typed(table: pd.DataFrame) -> pd.DataFrame:
    """Return the table with nullable integers, floats and strings as column types."""
    kinds = {
        name: "string" if name in WORDS else "Int64" if name in COUNTS else "float64"
        for name in table.columns
    }
    return table.astype(kinds).fillna({"note": ""})


def _row(path: Path) -> dict[str, Any]:
    """Return the row of one evaluation, or a row whose note says why it is empty."""
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
    values = {name: measured.get(MEASURED_AS.get(name, name)) for name in COLUMNS}
    row |= {name: value for name, value in values.items() if value is not None}
    row |= {"method": cell.without_seed.method}
    notes = [f"not finite: {name}" for name in manifest.get("not_finite", [])]
    return row | {"note": join_notes(notes)}


def why_not_run(path: Path) -> str:
    """Return why the evaluation at `path` does not exist, as far as is known."""
    folder = path.parents[3]
    reason = why_unavailable(folder)
    if reason is None:
        return f"{path} does not exist"
    return f"the weights of {folder.name} are not available ({reason})"


def _mean_over_seeds(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Return one row for the repetitions of a cell; failed ones add their note only."""
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
        "note": join_notes(row["note"] for row in rows),
    }


def check_identity(measured: Mapping[str, Any], cell: Cell, path: Path) -> None:
    """Refuse a manifest that was moved to the path of another cell.

    Raises:
        RadioError: the manifest's model or method differs from the cell's.
    """
    recorded = (measured.get("model"), measured.get("method"))
    if recorded != (cell.model, split(cell.method)[0]):
        raise RadioError(f"{path} is about {recorded}: delete it and rerun")


def paper_columns(row: Mapping[str, Any], cell: Cell, paper: PaperTable) -> dict[str, Any]:
    """Return the columns that the paper adds to a row; none if it has no value for the cell."""
    if cell.rate_bits is None:
        return {}
    key = (cell.model, cell.method, cell.rate_bits)
    value, ours = paper.value(*key, row["protocol"] or ""), row[paper.quantity]
    if value is None:
        return {}
    spread, seeds = row.get(f"{paper.quantity}_spread"), row["seeds"] or 1
    judgement = paper.judge(*key, paper=value, ours=ours, spread=spread, seeds=seeds)
    names = (name.format(paper.quantity) for name in PAPER_COLUMNS)
    columns = dict(zip(names, (value, *judgement), strict=True))
    return {**columns, "note": join_notes([row["note"], *paper.notes(*key)])}
