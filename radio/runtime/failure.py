"""Errors that are not bad input: one sentence for the user, and the traceback in a file."""

import os
import platform
import tempfile
import time
import traceback
from collections.abc import Sequence
from pathlib import Path

from radio.runtime.secrets import masked

FOLDER = Path("logs/errors")


def failure(error: Exception, arguments: Sequence[str]) -> str:
    """Write the traceback of `error` to a file and return the sentence that names it.

    The file is in `logs/errors` of the working directory, or in the folder of temporary files if
    that is not writable.

    Args:
        error: the exception that a command raised.
        arguments: the command line's arguments.
    """
    lines = (str(error).strip() or "no message").splitlines()
    said = f"{type(error).__name__}: {' '.join(lines[:2])}"
    report = "\n".join(
        [
            f"command: radio {' '.join(arguments)}",
            f"folder: {Path.cwd()}",
            f"python: {platform.python_version()} on {platform.platform()}",
            "",
            "".join(traceback.format_exception(error)),
        ]
    )
    return f"{said}; an error in radio or a library, whose traceback is in {_keep(masked(report))}"


def _keep(report: str) -> Path:
    """Write the report and return its path."""
    name = f"{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}.log"
    for folder in (FOLDER.absolute(), Path(tempfile.gettempdir())):
        try:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(report, encoding="utf-8", errors="backslashreplace")
        except OSError:
            continue
        return folder / name
    return Path(os.devnull)
