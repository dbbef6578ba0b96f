"""Values of the paper under our names, with their caveats and tolerances.

All of it is data in CSV files under `config/paper`: the paper's tables; `methods.csv`, our names of
the paper's methods; `caveats.csv`, remarks on single values; and `tolerances.csv`, the tolerances
of `radio.report.verdict`. In the last three, tables, models and methods are shell patterns, and an
empty cell matches everything.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pandas as pd

from radio.report.verdict import Judgement, Tolerance, verdict
from radio.runtime.errors import RadioError

KEYS = ("table", "model", "method", "bits")
# columns of the paper in another unit than ours: our column, and our units per unit of the paper
UNITS = {
    "pruned_percent": ("pruned", 0.01),
    "minutes": ("wall_s", 60.0),
    "accuracy": ("score", 0.01),
    "average_qa": ("score", 0.01),
    "gsm8k_5shot_flexible": ("score", 0.01),
}


@dataclass(frozen=True)
class PaperTable:
    """The paper's values on one text.

    Attributes:
        values: columns model, method (our name), bits (nominal, as we request them), `quantity`,
            and `row` of the file, counted from 0.
        caveats: columns model, method, bits, comparable ("yes" or "no") and caveat.
        tolerances: columns model, method, bits, absolute, relative, standard_errors and reason;
            the first matching row counts.
        protocol: shell pattern of the protocols under which our values are comparable.
        quantity: column of our tables that holds the same quantity.
    """

    values: pd.DataFrame
    caveats: pd.DataFrame
    tolerances: pd.DataFrame
    protocol: str
    quantity: str = "perplexity"

    def value(self, model: str, method: str, rate_bits: float, protocol: str) -> float | None:
        """Return the paper's value for a cell; None if it has none under this protocol.

        Args:
            model: name of the model.
            method: name of the method, without its seed.
            rate_bits: requested mean depth.
            protocol: protocol of our value; an empty string matches every protocol.
        """
        if protocol and not fnmatchcase(protocol, self.protocol):
            return None
        table = self.values
        same = (table.model == model) & (table.method == method) & (table.bits == rate_bits)
        return float(table[self.quantity][same].iloc[0]) if same.any() else None

    def notes(self, model: str, method: str, rate_bits: float) -> list[str]:
        """Return the caveats of the paper's value for a cell."""
        return [row["caveat"] for row in _matching(self.caveats, model, method, rate_bits)]

    def comparable(self, model: str, method: str, rate_bits: float) -> bool:
        """Return whether no caveat makes the paper's value for a cell incomparable with ours."""
        caveats = _matching(self.caveats, model, method, rate_bits)
        return all(row["comparable"] == "yes" for row in caveats)

    def tolerance(self, model: str, method: str, rate_bits: float) -> Tolerance:
        """Return the tolerance of the paper's value for a cell.

        Raises:
            RadioError: no row of the tolerances matches.
        """
        for row in _matching(self.tolerances, model, method, rate_bits):
            names = ("absolute", "relative", "standard_errors")
            return Tolerance(**{name: float(row[name]) for name in names}, reason=row["reason"])
        raise RadioError(
            f"config/paper/tolerances.csv has no row for {model}, {method} at {rate_bits:g} bits: "
            "add one"
        )

    def judge(
        self,
        model: str,
        method: str,
        rate_bits: float,
        *,
        paper: float,
        ours: float | None,
        spread: float | None = None,
        seeds: int = 1,
    ) -> Judgement:
        """Return the judgement on our value for a cell.

        Args:
            model: name of the model.
            method: name of the method, without its seed.
            rate_bits: requested mean depth.
            paper: the paper's value.
            ours: our value; None if it was not measured.
            spread: standard deviation of our value over seeds; None for a single seed.
            seeds: number of seeds.
        """
        cell = (model, method, rate_bits)
        allowed = (
            self.tolerance(*cell).around(paper, spread, seeds) if self.comparable(*cell) else None
        )
        return Judgement(
            None if ours is None else ours - paper, allowed, verdict(ours, paper, allowed)
        )


@dataclass(frozen=True)
class PaperRowSelector:
    """The rows of a paper table without method names that belong to one of our cells.

    Attributes:
        method: our variant, without its seed.
        rate_bits: mean depth of the cell.
        columns: the selected rows' entries by column; bits are those of the cell by default.
    """

    method: str
    rate_bits: float
    columns: Mapping[str, Any]


def load_paper_table(
    file: Path,
    protocol: str,
    quantity: str = "perplexity",
    model: str | None = None,
    bits: float | None = None,
    selectors: Sequence[PaperRowSelector] = (),
    percent: str | None = None,
    where: Mapping[str, Any] | None = None,
) -> PaperTable:
    """Read a table of the paper, with the caveats and tolerances of its values.

    Args:
        file: the table, with columns model, method and bits, and columns of values.
        protocol: shell pattern of comparable protocols.
        quantity: column of our tables; the file may have it in another unit (`UNITS`).
        model: the model of a table without a column of models.
        bits: the rate of a table without a column of bits.
        selectors: rows of each of our cells, for a table without our methods and bits.
        percent: column of the file that has the quantity in percent.
        where: entries, by column, of the rows to keep.

    Raises:
        RadioError: a file is absent or lacks a column, or no row matches a selector.
    """
    columns = set(where or {})
    content = _read(file, columns if selectors or bits is not None else {"bits", *columns})
    content["row"] = range(len(content))
    for name, (ours, factor) in UNITS.items():
        if name in content:
            content[ours] = content[name] * factor
    if percent is not None:
        content[quantity] = content[percent] / 100
    for column, value in (where or {}).items():
        content = content[content[column] == value]
    constants = {"model": model, "bits": bits}
    content = content.assign(**{k: value for k, value in constants.items() if value is not None})
    if selectors:
        content = pd.concat([_selected(content, file, selector) for selector in selectors])
    if missing := {"model", "method", quantity} - set(content.columns):
        raise RadioError(f"{file} lacks the columns {sorted(missing)}: restore it from git")
    if not selectors:
        content = _under_our_names(content, _companion(file, "methods", {"methods", "rate_bits"}))
    return PaperTable(
        content,
        _companion(file, "caveats", {"comparable", "caveat"}),
        _companion(file, "tolerances", {"absolute", "relative", "standard_errors", "reason"}),
        protocol,
        quantity,
    )


def _under_our_names(values: pd.DataFrame, methods: pd.DataFrame) -> pd.DataFrame:
    """Return the values with our methods and rates; a value may belong to several methods."""
    rows = []
    for row in values.to_dict("records"):
        rules = _matching(methods, row["model"], row["method"], row["bits"])
        rule = next(rules, {"methods": row["method"], "rate_bits": None})
        bits = row["bits"] if pd.isna(rule["rate_bits"]) else rule["rate_bits"]
        rows += [row | {"method": name, "bits": bits} for name in rule["methods"].split()]
    return pd.DataFrame(rows)


def _selected(values: pd.DataFrame, file: Path, selector: PaperRowSelector) -> pd.DataFrame:
    """Return the selected rows of a table with the method and rate of our cell."""
    bits = {"bits": selector.rate_bits} if "bits" in values else {}
    columns = {**bits, **selector.columns}
    matches = pd.Series(True, index=values.index)
    for name, value in columns.items():
        matches &= values[name] == value if name in values else False
    if not matches.any():
        raise RadioError(
            f"{file} has no row with {columns}, which the experiment gives for {selector.method}: "
            "correct `paper` in its cell"
        )
    return values[matches].assign(method=selector.method, bits=selector.rate_bits)


def _matching(
    rows: pd.DataFrame, model: str, method: str, rate_bits: float
) -> Iterator[dict[str, Any]]:
    """Yield the rows of a companion file that match a cell, in the order of the file."""
    for row in rows.to_dict("records"):
        any_rate = pd.isna(row["bits"]) or row["bits"] == rate_bits
        if any_rate and fnmatchcase(model, row["model"]) and fnmatchcase(method, row["method"]):
            yield {str(key): value for key, value in row.items()}


def _companion(file: Path, name: str, columns: Iterable[str]) -> pd.DataFrame:
    """Return the rows of `{name}.csv`, in the folder of a table, that match this table."""
    rows = _read(file.parent / f"{name}.csv", {*KEYS, *columns})
    return rows[[fnmatchcase(file.stem, pattern) for pattern in rows.table]]


def _read(path: Path, columns: set[str]) -> pd.DataFrame:
    try:
        table = pd.read_csv(path)
    except (FileNotFoundError, pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise RadioError(f"{path} cannot be read ({error}): restore it from git") from error
    if missing := columns - set(table.columns):
        raise RadioError(f"{path} lacks the columns {sorted(missing)}: restore it from git")
    return table
