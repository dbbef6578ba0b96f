"""What each stage took of models of several sizes, and how time grows with parameters."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from radio.runtime.absence import why_absent
from radio.runtime.errors import RadioError
from radio.runtime.manifest import read_manifest

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
# of several stages: times and bytes add up, memory does not
SUMMED = ("wall_s", "read_bytes", "written_bytes", "weights_read_bytes")
MAXIMAL = "peak_memory_bytes"
# what a stage has to do, and how much of it the machine does in a second at best
PEAKS = {"flops": "peak_flops_per_s", "moved_bytes": "peak_bytes_per_s"}


@dataclass(frozen=True)
class StageOf:
    """What a row is about: a stage of a model that is quantized by a method at a rate."""

    model: str
    method: str
    rate_bits: float
    stage: str


def build_scaling_table(
    stages: Sequence[tuple[StageOf, Path]], total: Sequence[str], paper: pd.DataFrame
) -> pd.DataFrame:
    """The table: a row for each stage and model, then for the paper's times, then for each fit.

    Args:
        stages: each with the path of its manifest, whether it exists or not; `prepare` tells the
            number of parameters.
        total: stages that are added up to one more row of each model, if all were run.
        paper: columns model, method, parameters and wall_s.

    Returns:
        `COLUMNS`. `source` says whose a row is; `share_of_peak` is that of the machine's measured
        matrix products in calibration, and of its memory's bandwidth in quantization. A row without
        a model has the `exponent` of wall_s against parameters over `models` of them, with its
        standard error from the residuals where there are more than two. An empty cell is NA and its
        row's note says why.
    """
    read = [_row(of, path) for of, path in stages]
    rows = []
    for model in dict.fromkeys(row["model"] for row in read):
        own = [row for row in read if row["model"] == model]
        known = next((row["parameters"] for row in own if row["parameters"]), None)
        rows += [row | {"parameters": known} for row in [*own, _total(own, total)]]
    rows += [{**row, "source": PAPER, "stage": TOTAL} for row in paper.to_dict("records")]
    for row in rows:
        if row.get("wall_s") is not None and row["parameters"]:
            row["s_per_billion"] = row["wall_s"] / row["parameters"] * 1e9
    table = pd.DataFrame([*rows, *_fits(rows)], columns=list(COLUMNS))
    return table.astype(COLUMNS).fillna({"note": ""})


def load_scaling_table(path: Path) -> pd.DataFrame:
    """Read a table of `radio.report.table.save_table` with these columns."""
    table = pd.read_csv(path, keep_default_na=False, na_values=[""])
    return table.astype(COLUMNS).fillna({"note": ""})


def paper_times(folder: Path, file: str, method: str) -> pd.DataFrame:
    """The paper's times of one of its methods, with the sizes of the models (`models.csv`)."""
    times, sizes = pd.read_csv(folder / file), pd.read_csv(folder / "models.csv")
    found = times[times.method == method].merge(sizes, on="model")
    found["wall_s"] = 60.0 * found.minutes
    return found.astype({"parameters": "int64"})[["model", "method", "parameters", "wall_s"]]


def power_law(
    sizes: Sequence[float | int], values: Sequence[float | int]
) -> tuple[float, float | None]:
    """Exponent of the power law through two points or more, and its standard error.

    Least squares in the logarithms; two points say nothing of the error.

    >>> [round(each, 6) for each in power_law([1, 10, 100], [3, 300, 30000])]
    [2.0, 0.0]
    """
    x, y = (np.log(np.asarray(each, dtype=float)) for each in (sizes, values))
    x, y = x - x.mean(), y - y.mean()
    exponent = float(x @ y / (x @ x))
    freedom = len(x) - 2
    if freedom < 1:
        return exponent, None
    residual = y - exponent * x
    return exponent, math.sqrt(float(residual @ residual / (x @ x)) / freedom)


def _row(of: StageOf, path: Path) -> dict[str, Any]:
    """What the manifest at `path` says, or why it says nothing."""
    row: dict[str, Any] = {"source": OURS, **vars(of), "parameters": None, "note": ""}
    if not path.exists():
        return row | {"note": f"not run: {_why_not(of.model, path)}"}
    try:
        manifest = read_manifest(path)
    except RadioError as error:
        return row | {"note": f"not read: {error}"}
    made = (manifest["step"], manifest["config"]["model"]["name"])
    if made != (of.stage, of.model):
        return row | {"note": f"not read: {path} is about {made}: delete it and run again"}
    told = manifest | manifest["measured"]
    row |= {name: told.get(name) for name in (*SUMMED, MAXIMAL, "parameters")}
    if told.get("resumed"):
        row |= {"wall_s": None, "note": "killed and resumed: its time is not known"}
    for work, peak in PEAKS.items():
        if work in told and not told["resumed"]:
            row["share_of_peak"] = told[work] / told["wall_s"] / told[peak]
    return row


def _why_not(model: str, path: Path) -> str:
    """Why a stage was not run, as far as is known."""
    folder = next(folder for folder in path.parents if folder.name == model)
    reason = why_absent(folder)
    return f"the weights are not here ({reason})" if reason else f"{path} does not exist"


def _total(own: Sequence[dict[str, Any]], stages: Sequence[str]) -> dict[str, Any]:
    """All `stages` of a model together; without numbers where one is missing."""
    parts = [row for row in own if row["stage"] in stages]
    unknown = dict.fromkeys((*SUMMED, MAXIMAL, "share_of_peak"))
    row: dict[str, Any] = {**own[0], **unknown, "stage": TOTAL}
    if missing := [part["stage"] for part in parts if part.get("wall_s") is None]:
        return row | {"note": f"without {', '.join(missing)}"}
    for name in (*SUMMED, MAXIMAL):
        values = [part[name] for part in parts if part[name] is not None]
        if values:
            row[name] = max(values) if name == MAXIMAL else sum(values)
    return row | {"note": ""}


def _fits(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """A row for each stage of ours and for the paper's total: how its time grows."""
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
            fit["note"] = "an exponent takes two models"
        fits.append(fit)
    return fits
