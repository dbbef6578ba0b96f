"""The paper's values, to stand beside ours: which of ours they belong to, and what to know of them.

The CSV files under `config/paper` say all of it. Beside the paper's tables, `methods.csv` says what
the paper's methods are called here, `caveats.csv` what is odd about a value, and `tolerances.csv`
how near to it ours must come (`radio.report.verdict`). Tables, models and methods in these three
are shell patterns and an empty cell is "any".
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
# columns of the paper's tables in a unit of their own: column of ours, and ours per unit of theirs
UNITS = {
    "pruned_percent": ("pruned", 0.01),
    "minutes": ("wall_s", 60.0),
    "accuracy": ("score", 0.01),
    "average_qa": ("score", 0.01),
    "gsm8k_5shot_flexible": ("score", 0.01),
}


@dataclass(frozen=True)
class PaperTable:
    """What the paper reports on one text.

    Attributes:
        values: columns model, method (ours), bits (nominal, as asked of ours), `quantity` and `row`
            of the file, counted from 0.
        caveats: columns model, method, bits, comparable ("yes" or "no") and caveat.
        tolerances: columns model, method, bits, absolute, relative, standard_errors and reason;
            the first row that fits a value counts.
        protocol: shell pattern of the labels under which a value of ours may stand beside it.
        quantity: column of our tables that the values are of.
    """

    values: pd.DataFrame
    caveats: pd.DataFrame
    tolerances: pd.DataFrame
    protocol: str
    quantity: str = "perplexity"

    def value(self, model: str, method: str, rate_bits: float, protocol: str) -> float | None:
        """The paper's value for a cell; None where it has none under this protocol.

        Args:
            model: name of the model.
            method: name of the method, without its seed.
            rate_bits: mean depth that was asked.
            protocol: label of our value; empty where there is none yet, which rules nothing out.
        """
        if protocol and not fnmatchcase(protocol, self.protocol):
            return None
        table = self.values
        same = (table.model == model) & (table.method == method) & (table.bits == rate_bits)
        return float(table[self.quantity][same].iloc[0]) if same.any() else None

    def notes(self, model: str, method: str, rate_bits: float) -> list[str]:
        """What is to be known of the paper's value for a cell."""
        return [row["caveat"] for row in _fitting(self.caveats, model, method, rate_bits)]

    def comparable(self, model: str, method: str, rate_bits: float) -> bool:
        """Whether the paper's value for a cell is of what ours is of, as far as is known."""
        fitting = _fitting(self.caveats, model, method, rate_bits)
        return all(row["comparable"] == "yes" for row in fitting)

    def tolerance(self, model: str, method: str, rate_bits: float) -> Tolerance:
        """How near to the paper's value for a cell ours must come.

        Raises:
            RadioError: no row of the tolerances fits.
        """
        for row in _fitting(self.tolerances, model, method, rate_bits):
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
        """What is to be said of our value for a cell beside the paper's.

        Args:
            model: name of the model.
            method: name of the method, without its seed.
            rate_bits: mean depth that was asked.
            paper: the paper's value.
            ours: None where there is none.
            spread: standard deviation of ours over seeds, where there are several.
            seeds: their number.
        """
        cell = (model, method, rate_bits)
        allowed = (
            self.tolerance(*cell).around(paper, spread, seeds) if self.comparable(*cell) else None
        )
        return Judgement(
            None if ours is None else ours - paper, allowed, verdict(ours, paper, allowed)
        )


@dataclass(frozen=True)
class Study:
    """What of a table that names no methods belongs to a cell of ours.

    Attributes:
        method: our variant, without its seed.
        rate_bits: the cell's mean depth.
        columns: what the table has in its columns there; bits are those of the cell unless given.
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
    studies: Sequence[Study] = (),
    percent: str | None = None,
    where: Mapping[str, Any] | None = None,
) -> PaperTable:
    """Read a table of the paper, with what the files beside it say of its values.

    Args:
        file: the table, with columns model, method and bits, and the values.
        protocol: shell pattern of the labels of comparable values.
        quantity: column with the values, which ours has too; the table may have it in another unit
            (`UNITS`).
        model: the model of a table of one, which then has no such column.
        bits: the same of a table of one rate.
        studies: what belongs to which cell, instead of columns with our methods and bits.
        percent: column of the table that has the values in percent, where it has several such.
        where: what columns of the table have in the rows that are meant.

    Raises:
        RadioError: a file is absent or lacks a column, or a row of a study is not there.
    """
    columns = set(where or {})
    content = _read(file, columns if studies or bits is not None else {"bits", *columns})
    content["row"] = range(len(content))
    for name, (ours, factor) in UNITS.items():
        if name in content:
            content[ours] = content[name] * factor
    if percent is not None:
        content[quantity] = content[percent] / 100
    for column, value in (where or {}).items():
        content = content[content[column] == value]
    fixed = {"model": model, "bits": bits}
    content = content.assign(**{name: one for name, one in fixed.items() if one is not None})
    if studies:
        content = pd.concat([_of_study(content, file, study) for study in studies])
    if missing := {"model", "method", quantity} - set(content.columns):
        raise RadioError(f"{file} lacks the columns {sorted(missing)}: restore it from git")
    if not studies:
        content = _in_our_names(content, _beside(file, "methods", {"methods", "rate_bits"}))
    return PaperTable(
        content,
        _beside(file, "caveats", {"comparable", "caveat"}),
        _beside(file, "tolerances", {"absolute", "relative", "standard_errors", "reason"}),
        protocol,
        quantity,
    )


def _in_our_names(values: pd.DataFrame, methods: pd.DataFrame) -> pd.DataFrame:
    """The values under the names and rates of ours; one may stand beside several methods."""
    found = []
    for row in values.to_dict("records"):
        fitting = _fitting(methods, row["model"], row["method"], row["bits"])
        rule = next(fitting, {"methods": row["method"], "rate_bits": None})
        bits = row["bits"] if pd.isna(rule["rate_bits"]) else rule["rate_bits"]
        found += [row | {"method": name, "bits": bits} for name in rule["methods"].split()]
    return pd.DataFrame(found)


def _of_study(values: pd.DataFrame, file: Path, study: Study) -> pd.DataFrame:
    """The rows of a table that belong to a cell, under the cell's names."""
    bits = {"bits": study.rate_bits} if "bits" in values else {}
    columns = {**bits, **study.columns}
    fitting = pd.Series(True, index=values.index)
    for name, value in columns.items():
        fitting &= values[name] == value if name in values else False
    if not fitting.any():
        raise RadioError(
            f"{file} has no row with {columns}, which the experiment says {study.method} is: "
            "correct `paper` in its cell"
        )
    return values[fitting].assign(method=study.method, bits=study.rate_bits)


def _fitting(
    rows: pd.DataFrame, model: str, method: str, rate_bits: float
) -> Iterator[dict[str, Any]]:
    """Rows of a file beside the tables that are about a value, in the order of the file."""
    for row in rows.to_dict("records"):
        any_rate = pd.isna(row["bits"]) or row["bits"] == rate_bits
        if any_rate and fnmatchcase(model, row["model"]) and fnmatchcase(method, row["method"]):
            yield {str(key): value for key, value in row.items()}


def _beside(file: Path, name: str, columns: Iterable[str]) -> pd.DataFrame:
    """Rows of the file `name`.csv beside a table that are about this table."""
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
