"""Progress with an estimate of what is left, readable on a terminal and in a log file."""

import sys
from collections.abc import Iterable
from typing import Any, NoReturn, TypeVar

from tqdm import tqdm

Item = TypeVar("Item")


def progress(items: Iterable[Item], what: str, total: int | None = None) -> Iterable[Item]:
    """Iterate over `items`, showing count, rate and time left; a log file gets a line in 10 s."""
    return tqdm(items, desc=what, total=total, **_style())


def progress_bar(what: str, total: int, done: int) -> "tqdm[NoReturn]":
    """The same for work that ends in steps of unequal size: call `update` with each."""
    return tqdm(desc=what, total=total, initial=done, **_style())


def _style() -> dict[str, Any]:
    return {"mininterval": 0.2 if sys.stderr.isatty() else 10.0, "ascii": True}
