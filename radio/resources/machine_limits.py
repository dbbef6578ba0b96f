"""Which of the paper's models a machine cannot hold, and why."""

import csv
import os
import shutil
from functools import cache
from pathlib import Path

from radio.runtime.errors import RadioError

GB = 10**9
# a checkpoint is stored in half precision; the paper's loop and tasks hold the model, in float32
STORED_BYTES, HELD_BYTES = 2, 4


def why_too_large(
    model: str, sizes: Path, *, memory_bytes: float | None = None, disk_bytes: float | None = None
) -> str | None:
    """Why the weights of a model do not fit; None where they do, or `sizes` does not know it.

    Args:
        model: its name.
        sizes: CSV file with the columns model and parameters.
        memory_bytes: what there is; None: of this machine.
        disk_bytes: what is free where the weights would be; None: of this machine.

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
    """Where the hub's cache is."""
    return Path(os.environ.get("HF_HOME") or Path.home() / ".cache/huggingface")


def _existing(path: Path) -> Path:
    """The nearest folder that is there."""
    return next(folder for folder in (path.absolute(), *path.absolute().parents) if folder.exists())
