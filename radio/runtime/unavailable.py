"""Record why a model's weights are unavailable, in the folder of its results.

A failed `prepare` stays a failed job. Its error is kept for the tables, whose other cells may be
made without the model: a gated or unknown repository, no network, a damaged checkpoint. Temporary
errors are not kept, since tables would go on showing them: too little memory, a full disk, a
connection that timed out (`MachineError`), an interruption.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from radio.runtime.errors import MachineError, RadioError
from radio.runtime.files import read_json, write_json

PREPARED, ABSENT = "model.json", "absent.json"


@contextmanager
def failure_recorded(folder: Path) -> Iterator[None]:
    """Record in a model's results `folder` why the block could not prepare its weights.

    The reason of an earlier attempt is removed first.

    Raises:
        RadioError: the error of the block.
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
    """Record in a model's results `folder` why its weights are unavailable."""
    write_json(folder / ABSENT, {"reason": reason})


def why_unavailable(folder: Path) -> str | None:
    """Return why the last attempt to prepare the weights failed; None if it did not fail."""
    if (folder / PREPARED).exists() or not (folder / ABSENT).exists():
        return None
    return str(read_json(folder / ABSENT).get("reason"))
