"""Progress with an estimate of the time left, readable on a terminal and in a log file."""

import sys
from collections.abc import Iterable
from typing import Any, NoReturn, TypeVar

from tqdm import tqdm

Item = TypeVar("Item")


def progress(items: Iterable[Item], what: str, total: int | None = None) -> Iterable[Item]:
    """Iterate over `items`, showing count, rate and time left; log files get a line per 10 s."""
    return tqdm(items, desc=what, total=total, **_style())


def progress_bar(what: str, total: int, done: int) -> "tqdm[NoReturn]":
    """Return a progress bar for steps of unequal size: call `update` after each step."""
    return tqdm(desc=what, total=total, initial=done, **_style())


def _style() -> dict[str, Any]:
    return {"mininterval": 0.2 if sys.stderr.isatty() else 10.0, "ascii": True}
