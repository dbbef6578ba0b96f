"""One workflow at a time in a directory, with no jobs left from a killed one.

A workflow locks a file, which the kernel unlocks however the process ends, and writes a token into
it. Its jobs get the token in `$RADIO_WORKFLOW` and hold a shared lock on a second file. The jobs of
a killed workflow may survive it: the next workflow writes another token, jobs that notice it exit,
and the workflow starts when all have exited.
"""

import fcntl
import logging
import os
import signal
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from radio.runtime.errors import RadioError

log = logging.getLogger(__name__)

VARIABLE = "RADIO_WORKFLOW"
POLL_S = 1.0


def hold_workflow_lock(folder: Path) -> TextIO | None:
    """Lock the directory that contains `folder` (`.snakemake`) for the life of this process.

    Wait until the jobs of a killed workflow have ended.

    Returns:
        The locked file, which must stay open; None in a workflow started by the lock's holder.

    Raises:
        RadioError: another running workflow holds the lock.
    """
    folder = folder.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "radio.lock"
    if os.environ.get(VARIABLE) == _ticket(path):
        return None
    file = path.open("a+", encoding="utf-8")
    if not _locked(file, fcntl.LOCK_EX | fcntl.LOCK_NB):
        file.close()
        raise RadioError(
            f"another workflow (process {_read(path).partition(' ')[0]}) is at work in "
            f"{folder.parent}: wait until it has ended, or stop it, and give the command again"
        )
    file.truncate(0)
    file.write(f"{os.getpid()} {uuid.uuid4().hex}")
    file.flush()
    os.environ[VARIABLE] = _ticket(path)
    _wait_for_jobs(folder / "radio.jobs")
    return file


@contextmanager
def job_of_workflow() -> Iterator[None]:
    """Run a workflow's job, terminated by SIGTERM if another workflow takes over its directory.

    Does nothing outside a workflow.
    """
    path = os.environ.get(VARIABLE, "").rpartition(" ")[0].rpartition(" ")[0]
    if not path or not Path(path).is_file():
        yield
        return
    over = threading.Event()
    watch = threading.Thread(target=_watch, args=(Path(path), over), daemon=True)
    with Path(path).with_name("radio.jobs").open("a", encoding="utf-8") as file:
        _locked(file, fcntl.LOCK_SH)
        watch.start()
        try:
            yield
        finally:
            over.set()


def _watch(path: Path, over: threading.Event) -> None:
    """Terminate this process when the lock file holds another workflow's token."""
    while True:
        if os.environ[VARIABLE] != _ticket(path) and _read(path):
            log.error("another workflow has taken over %s: this job ends", path.parents[1])
            os.kill(os.getpid(), signal.SIGTERM)
            return
        if over.wait(POLL_S):
            return


def _wait_for_jobs(path: Path) -> None:
    """Wait until all jobs of earlier workflows have ended."""
    with path.open("a", encoding="utf-8") as file:
        if not _locked(file, fcntl.LOCK_EX | fcntl.LOCK_NB):
            log.warning("waiting for jobs of a killed workflow in %s to end", path.parents[1])
            _locked(file, fcntl.LOCK_EX)


def _locked(file: TextIO, kind: int) -> bool:
    """Return whether the lock was acquired; also True on file systems without locks."""
    try:
        fcntl.flock(file, kind)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True


def _ticket(path: Path) -> str:
    """Return the path of the lock file with its content: process and token."""
    return f"{path} {_read(path)}"


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError:
        return ""
