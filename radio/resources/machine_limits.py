"""Check which of the paper's models are too large for a machine, and why."""

import csv
import os
import shutil
from functools import cache
from pathlib import Path

from radio.runtime.errors import RadioError

GB = 10**9
# bytes per parameter: checkpoints are in half precision; the paper's loop and tasks hold the model
# in float32
STORED_BYTES, HELD_BYTES = 2, 4


def why_too_large(
    model: str, sizes: Path, *, memory_bytes: float | None = None, disk_bytes: float | None = None
) -> str | None:
    """Return why a model's weights do not fit; None if they fit or `sizes` lacks the model.

    Args:
        model: name of the model.
        sizes: CSV file with the columns model and parameters.
        memory_bytes: available memory; None: that of this machine.
        disk_bytes: free disk space for the weights; None: that of this machine.

    Raises:
        RadioError: `sizes` cannot be read.
    """
    parameters = _parameters(sizes)
    if model not in parameters:
        return None
    memory = _memory_bytes() if memory_bytes is None else memory_bytes
    disk = shutil.disk_usage(_existing(_hub())).free if disk_bytes is None else disk_bytes
    for bytes_each, has, noun in (
        (HELD_BYTES, memory, "memory"),
        (STORED_BYTES, disk, "free disk"),
    ):
        needed = bytes_each * parameters[model]
        if needed > has:
            return (
                f"{model} takes {needed / GB:.0f} GB of {noun} and this machine has {has / GB:.0f}"
            )
    return None


@cache
def _parameters(sizes: Path) -> dict[str, float]:
    try:
        with sizes.open(newline="", encoding="utf-8") as file:
            return {row["model"]: float(row["parameters"]) for row in csv.DictReader(file)}
    except (OSError, KeyError, ValueError) as error:
        raise RadioError(f"{sizes} cannot be read ({error}): restore it from git") from error


def _memory_bytes() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _hub() -> Path:
    """Return the folder of the hub's cache."""
    return Path(os.environ.get("HF_HOME") or Path.home() / ".cache/huggingface")


def _existing(path: Path) -> Path:
    """Return the nearest existing folder."""
    return next(folder for folder in (path.absolute(), *path.absolute().parents) if folder.exists())
