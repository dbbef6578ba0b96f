"""Formats of numbers, footnotes and tolerances in tables for readers."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd

from radio.report.verdict import Tolerance

MISSING = "—"
# between the notes of one row
NOTES = "; "


def number(value: Any, decimals: int, *, scale: float = 1.0, sign: str = "") -> str:
    """Return `scale * value` with a fixed number of decimals; a dash if `value` is missing."""
    if value is None or pd.isna(value):
        return MISSING
    return f"{scale * value:{sign}.{decimals}f}".replace("-", "−")


def with_error(value: Any, error: Any, *, scale: float = 1.0) -> str:
    """Return `38.21 ± 0.52`: the error to two digits and the value to the same place.

    >>> with_error(38.2143, 0.5234), with_error(0.139142, 0.00212), with_error(660.4, 31.2)
    ('38.21 ± 0.52', '0.1391 ± 0.0021', '660 ± 31')
    """
    if value is None or pd.isna(value):
        return MISSING
    value = scale * value
    if error is None or pd.isna(error) or error <= 0:
        return number(value, 0 if value == 0 else max(0, 3 - math.floor(math.log10(abs(value)))))
    error = scale * error
    decimals = min(4, max(0, 1 - math.floor(math.log10(error))))
    return f"{number(value, decimals)} ± {error:.{decimals}f}"


def three_digits(value: Any) -> str:
    """Return a float to three significant digits, and any other value as it is.

    >>> three_digits(538.2), three_digits(1.3), three_digits(64), three_digits(float("nan"))
    ('538', '1.30', '64', '—')
    """
    if not isinstance(value, float):
        return str(value)
    if math.isnan(value):
        return MISSING
    return f"{value:.0f}" if value >= 100 else f"{value:#.3g}".rstrip(".")


def word(value: Any) -> str:
    """Return the value as text; a dash if it is missing or empty."""
    return MISSING if value is None or pd.isna(value) or value == "" else str(value)


def notes_of(joined: str) -> list[str]:
    """Return the notes of one row."""
    return [note for note in joined.split(NOTES) if note]


def join_notes(notes: Iterable[str | None]) -> str:
    """Return distinct notes as the note of one row.

    >>> join_notes(["a", None, "b", "a"])
    'a; b'
    """
    return NOTES.join(dict.fromkeys(note for note in notes if note))


def footnotes(column: Iterable[str]) -> dict[str, int]:
    """Return the notes that several rows share, numbered from 1 in order of appearance."""
    counts = Counter(note for joined in column for note in notes_of(joined))
    shared = (note for note, count in counts.items() if count > 1)
    return {note: mark for mark, note in enumerate(shared, start=1)}


def allowances(
    tolerances: Iterable[tuple[str, Tolerance]], method_labels: Mapping[str, str]
) -> list[str]:
    """Return one sentence per tolerance: what *reproduced* means for its methods."""
    methods: dict[Tolerance, list[str]] = {}
    for name, tolerance in tolerances:
        methods.setdefault(tolerance, []).append(method_labels.get(name, name))
    return [
        f"Reproduced, {' / '.join(names)}: within {allowed.absolute:g}, or {allowed.relative:.2g} "
        f"times the paper's value if that is larger: {allowed.reason}."
        for allowed, names in methods.items()
    ]
