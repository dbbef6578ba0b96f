"""Numbers, words and notes as they stand in a table for reading."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd

from radio.report.table import NOTES
from radio.report.verdict import Tolerance

MISSING = "—"
WORDS = {"Model", "Method", "Stage", "Text", "Verdict", "Note"}


def table_lines(rows: Sequence[Mapping[str, str]]) -> list[str]:
    """A Markdown table of the columns that any row has something in."""
    shown = [name for name in rows[0] if any(row[name] != MISSING for row in rows)]
    return [
        "| " + " | ".join(shown) + " |",
        "|" + "|".join("---" if name in WORDS else "--:" for name in shown) + "|",
        *(
            "| " + " | ".join(row[name].replace("|", r"\|") for name in shown) + " |"
            for row in rows
        ),
    ]


def number(value: Any, decimals: int, sign: str = "") -> str:
    """A number to so many decimals; a dash where there is none."""
    if value is None or pd.isna(value):
        return MISSING
    return f"{value:{sign}.{decimals}f}".replace("-", "−")


def with_error(value: Any, error: Any) -> str:
    """`38.21 ± 0.52`: the error to two digits, the value to the same place.

    >>> with_error(38.2143, 0.5234), with_error(0.139142, 0.00212), with_error(660.4, 31.2)
    ('38.21 ± 0.52', '0.1391 ± 0.0021', '660 ± 31')
    """
    if value is None or pd.isna(value):
        return MISSING
    if error is None or pd.isna(error) or error <= 0:
        return number(value, 0 if value == 0 else max(0, 3 - math.floor(math.log10(abs(value)))))
    decimals = min(4, max(0, 1 - math.floor(math.log10(error))))
    return f"{number(value, decimals)} ± {error:.{decimals}f}"


def scaled(value: Any, factor: float) -> Any:
    """A number in another unit; what is missing stays so."""
    return value if value is None or pd.isna(value) else value * factor


def word(value: Any) -> str:
    """A word, or a dash where there is none."""
    return MISSING if value is None or pd.isna(value) else str(value)


def shared_notes(column: Iterable[str]) -> dict[str, int]:
    """The notes that several rows have, numbered from 1 as they come."""
    counts = Counter(note for notes in column for note in _notes(notes))
    shared = (note for note, count in counts.items() if count > 1)
    return {note: number for number, note in enumerate(shared, start=1)}


def marked(joined: str, footnotes: Mapping[str, int]) -> str:
    """A row's notes, those of several rows as marks of their footnotes."""
    notes = _notes(joined)
    marks = "".join(f"[{footnotes[note]}]" for note in notes if note in footnotes)
    return NOTES.join(filter(None, [marks, *(note for note in notes if note not in footnotes)]))


def _notes(joined: str) -> list[str]:
    """The notes of one row."""
    return [note for note in joined.split(NOTES) if note]


def allowances(
    tolerances: Iterable[tuple[str, Tolerance]], method_labels: Mapping[str, str]
) -> list[str]:
    """What *reproduced* means, a line for each tolerance and the methods that have it."""
    methods: dict[Tolerance, list[str]] = {}
    for name, tolerance in tolerances:
        methods.setdefault(tolerance, []).append(method_labels.get(name, name))
    return [
        f"Reproduced, {' / '.join(names)}: within {allowed.absolute:g} or {allowed.relative:.2g} "
        f"of the paper's value, whichever is more: {allowed.reason}."
        for allowed, names in methods.items()
    ]
