"""Progress with an estimate of what is left, readable on a terminal and in a log file."""

import sys
from collections.abc import Iterable
from typing import TypeVar

from tqdm import tqdm

Item = TypeVar("Item")


def progress(items: Iterable[Item], what: str, total: int | None = None) -> Iterable[Item]:
    """Iterate over `items`, showing count, rate and time left; a log file gets a line in 10 s."""
    terminal = sys.stderr.isatty()
    return tqdm(items, desc=what, total=total, mininterval=0.2 if terminal else 10.0, ascii=True)
