"""Why a model's weights are not on this machine, kept beside where its results would be.

A failed `prepare` stays a failed job. What it said is kept for the tables, whose other cells may be
made without the model: that a repository is gated or unknown, that there is no network, that a
checkpoint is damaged. What passes by itself is not kept, since a table would go on saying it: too
little memory, a full disk, a connection that timed out (`MachineError`), an interruption.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from radio.runtime.errors import MachineError, RadioError
from radio.runtime.files import read_json, write_json

PREPARED, ABSENT = "model.json", "absent.json"


@contextmanager
def failure_recorded(folder: Path) -> Iterator[None]:
    """Keep in a model's `folder` of results why the block could not prepare its weights.

    The reason of an earlier attempt is removed first.

    Raises:
        RadioError: the block's own.
    """
    (folder / ABSENT).unlink(missing_ok=True)
    try:
        yield
    except MachineError:
        raise
    except RadioError as error:
        record_unavailable(folder, str(error))
        raise


def record_unavailable(folder: Path, reason: str) -> None:
    """Keep why a model's weights are not here in its `folder` of results."""
    write_json(folder / ABSENT, {"reason": reason})


def why_unavailable(folder: Path) -> str | None:
    """Why the last attempt to prepare the weights failed; None if none did, or they are there."""
    if (folder / PREPARED).exists() or not (folder / ABSENT).exists():
        return None
    return str(read_json(folder / ABSENT).get("reason"))
