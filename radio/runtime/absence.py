"""Why a model's weights are not on this machine, kept beside where its results would be.

A failed `prepare` stays a failed job. What it said is kept for the tables, whose other cells may be
made without the model.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from radio.runtime.errors import RadioError
from radio.runtime.files import read_json, write_json

PREPARED, ABSENT = "model.json", "absent.json"


@contextmanager
def absence_kept(folder: Path) -> Iterator[None]:
    """Keep in a model's `folder` of results why the block could not prepare its weights.

    Raises:
        RadioError: the block's own.
    """
    try:
        yield
    except RadioError as error:
        keep_absence(folder, str(error))
        raise
    (folder / ABSENT).unlink(missing_ok=True)


def keep_absence(folder: Path, reason: str) -> None:
    """Keep why a model's weights are not here in its `folder` of results."""
    write_json(folder / ABSENT, {"reason": reason})


def why_absent(folder: Path) -> str | None:
    """Why the last attempt to prepare the weights failed; None if none did, or they are there."""
    if (folder / PREPARED).exists() or not (folder / ABSENT).exists():
        return None
    return str(read_json(folder / ABSENT).get("reason"))
