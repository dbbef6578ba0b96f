"""Cells of the paper's tables: one for each printed value."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from radio.runtime.errors import RadioError

# columns that identify the cell of a value; all other columns hold values
KEYS = (
    "model",
    "method",
    "variant",
    "hyperparameter",
    "value",
    "group_size",
    "task",
    "embedding_dim",
    "matrix",
    "bits",
)


class PaperCell(NamedTuple):
    """One value of the paper.

    Attributes:
        table: name of the table, such as table_3a.
        row: row of the file, counted from 0.
        quantity: column of the file.
        keys: the row's entries in the columns `KEYS`.
        paper: the value, in the unit of the file.
    """

    table: str
    row: int
    quantity: str
    keys: Mapping[str, Any]
    paper: float


def paper_cells(table: str, file: Path) -> list[PaperCell]:
    """Return all cells of a table of the paper, column by column.

    Raises:
        RadioError: the file cannot be read, has no column of values, a value that is not a number,
            or two rows with the same keys.
    """
    try:
        content = pd.read_csv(file)
    except (FileNotFoundError, pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise RadioError(f"{file} cannot be read ({error}): restore it from git") from error
    keys = [name for name in KEYS if name in content]
    quantities = value_columns(content)
    values = content[quantities].apply(pd.to_numeric, errors="coerce")
    if not quantities or values.isna().any(axis=None) or content.duplicated(keys).any():
        raise RadioError(
            f"{file} has no values, an empty value, or two rows for one cell: restore it from git"
        )
    return [
        PaperCell(table, row, name, {key: content[key].iloc[row] for key in keys}, float(value))
        for name in quantities
        for row, value in enumerate(values[name])
    ]


def value_columns(content: pd.DataFrame) -> list[str]:
    """Return the columns of a table of the paper that hold values."""
    return [str(name) for name in content.columns if name not in KEYS]
