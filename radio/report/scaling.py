"""The table of scaling: time, memory and traffic of each stage against the number of parameters."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from radio.runtime.errors import RadioError
from radio.runtime.manifest import read_manifest
from radio.runtime.unavailable import why_unavailable

COLUMNS = {
    "source": "string",
    "model": "string",
    "method": "string",
    "rate_bits": "float64",
    "stage": "string",
    "parameters": "Int64",
    "wall_s": "float64",
    "s_per_billion": "float64",
    "peak_memory_bytes": "Int64",
    "read_bytes": "Int64",
    "written_bytes": "Int64",
    "weights_read_bytes": "Int64",
    "share_of_peak": "float64",
    "exponent": "float64",
    "exponent_se": "float64",
    "models": "Int64",
    "note": "string",
}
OURS, PAPER, TOTAL = "ours", "paper", "total"
# the total of several stages sums these columns, and takes the maximum of memory
SUMMED = ("wall_s", "read_bytes", "written_bytes", "weights_read_bytes")
MAXIMAL = "peak_memory_bytes"
# work of a stage, and the largest rate at which the machine does this work
PEAKS = {"flops": "peak_flops_per_s", "moved_bytes": "peak_bytes_per_s"}


@dataclass(frozen=True)
class StageCell:
    """The subject of a row: one stage of the quantization of a model by a method at a rate."""

    model: str
    method: str
    rate_bits: float
    stage: str


def build_scaling_table(
    stages: Sequence[tuple[StageCell, Path]], total: Sequence[str], paper: pd.DataFrame
) -> pd.DataFrame:
    """Return a row for each stage and model, then for each time of the paper and each fit.

    Args:
        stages: stages with the paths of their manifests, which need not exist; the manifest of
            `prepare` has the number of parameters.
        total: stages whose sum is one more row of each model, if all of them were run.
        paper: columns model, method, parameters and wall_s.

    Returns:
        `COLUMNS`. `source` is "ours" or "paper". `share_of_peak` is relative to the machine's
        measured matrix products in calibration, and to its memory bandwidth in quantization. A row
        without a model has the `exponent` of wall_s against parameters over `models` models, with
        its standard error from the residuals if there are more than two. A missing value is NA,
        and the row's note says why.
    """
    measured = [_row(cell, path) for cell, path in stages]
    rows = []
    for model in dict.fromkeys(row["model"] for row in measured):
        own = [row for row in measured if row["model"] == model]
        known = next((row["parameters"] for row in own if row["parameters"]), None)
        rows += [row | {"parameters": known} for row in [*own, _total(own, total)]]
    rows += [{**row, "source": PAPER, "stage": TOTAL} for row in paper.to_dict("records")]
    for row in rows:
        if row.get("wall_s") is not None and row["parameters"]:
            row["s_per_billion"] = row["wall_s"] / row["parameters"] * 1e9
    table = pd.DataFrame([*rows, *_fits(rows)], columns=list(COLUMNS))
    return table.astype(COLUMNS).fillna({"note": ""})


def load_scaling_table(path: Path) -> pd.DataFrame:
    """Return a table with these columns, written by `radio.report.table.save_table`."""
    table = pd.read_csv(path, keep_default_na=False, na_values=[""])
    return table.astype(COLUMNS).fillna({"note": ""})


def paper_times(folder: Path, file: str, method: str) -> pd.DataFrame:
    """Return the paper's times of one method, with the models' numbers of parameters."""
    times, sizes = pd.read_csv(folder / file), pd.read_csv(folder / "models.csv")
    rows = times[times.method == method].merge(sizes, on="model")
    rows["wall_s"] = 60.0 * rows.minutes
    return rows.astype({"parameters": "int64"})[["model", "method", "parameters", "wall_s"]]


def power_law(
    sizes: Sequence[float | int], values: Sequence[float | int]
) -> tuple[float, float | None]:
    """Return the exponent of the power law through two points or more, and its standard error.

    The fit is least squares in the logarithms; two points leave the error undetermined (None).

    >>> [round(number, 6) for number in power_law([1, 10, 100], [3, 300, 30000])]
    [2.0, 0.0]
    """
    x, y = (np.log(np.asarray(axis, dtype=float)) for axis in (sizes, values))
    x, y = x - x.mean(), y - y.mean()
    exponent = float(x @ y / (x @ x))
    freedom = len(x) - 2
    if freedom < 1:
        return exponent, None
    residual = y - exponent * x
    return exponent, math.sqrt(float(residual @ residual / (x @ x)) / freedom)


def _row(cell: StageCell, path: Path) -> dict[str, Any]:
    """Return the row of one stage, or a row whose note says why it is empty."""
    row: dict[str, Any] = {"source": OURS, **vars(cell), "parameters": None, "note": ""}
    if not path.exists():
        return row | {"note": f"not run: {_why_not(cell.model, path)}"}
    try:
        manifest = read_manifest(path)
    except RadioError as error:
        return row | {"note": f"not read: {error}"}
    recorded = (manifest["step"], manifest["config"]["model"]["name"])
    if recorded != (cell.stage, cell.model):
        return row | {"note": f"not read: {path} is about {recorded}: delete it and rerun"}
    values = manifest | manifest["measured"]
    row |= {name: values.get(name) for name in (*SUMMED, MAXIMAL, "parameters")}
    if values.get("resumed"):
        row |= {"wall_s": None, "note": "killed and resumed: its time is unknown"}
    for work, peak in PEAKS.items():
        if work in values and not values["resumed"]:
            row["share_of_peak"] = values[work] / values["wall_s"] / values[peak]
    return row


def _why_not(model: str, path: Path) -> str:
    """Return why a stage was not run, as far as is known."""
    folder = next(folder for folder in path.parents if folder.name == model)
    reason = why_unavailable(folder)
    return f"the weights are not available ({reason})" if reason else f"{path} does not exist"


def _total(own: Sequence[dict[str, Any]], stages: Sequence[str]) -> dict[str, Any]:
    """Return the sum of the `stages` of a model; without numbers if one is missing."""
    summands = [row for row in own if row["stage"] in stages]
    unknown = dict.fromkeys((*SUMMED, MAXIMAL, "share_of_peak"))
    total: dict[str, Any] = {**own[0], **unknown, "stage": TOTAL}
    if missing := [row["stage"] for row in summands if row.get("wall_s") is None]:
        return total | {"note": f"without {', '.join(missing)}"}
    for name in (*SUMMED, MAXIMAL):
        values = [row[name] for row in summands if row[name] is not None]
        if values:
            total[name] = max(values) if name == MAXIMAL else sum(values)
    return total | {"note": ""}


def _fits(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return a row for each of our stages and for the paper's total: the growth of its time."""
    fits = []
    for source, stage in dict.fromkeys((row["source"], row["stage"]) for row in rows):
        points = [
            (row["parameters"], row["wall_s"])
            for row in rows
            if (row["source"], row["stage"]) == (source, stage)
            and row["parameters"]
            and row.get("wall_s")
        ]
        fit: dict[str, Any] = {"source": source, "stage": stage, "models": len(points)}
        if len({size for size, _ in points}) > 1:
            fit["exponent"], fit["exponent_se"] = power_law(*zip(*points, strict=True))
        else:
            fit["note"] = "an exponent needs two models"
        fits.append(fit)
    return fits
