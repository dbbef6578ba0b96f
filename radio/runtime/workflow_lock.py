"""One workflow at a time in a directory, and no job of a killed one next to it.

A workflow holds a lock on a file, which the kernel frees however the process ends, and writes a
token into it. Its jobs get the token in `$RADIO_WORKFLOW` and hold a shared lock on a second file.
When a workflow is killed outright its jobs may live on: the next workflow writes another token,
jobs that see it end, and the workflow begins when all have.
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
    """Take the lock of the directory that `folder` (`.snakemake`) is in, for this process's life.

    Waits until the jobs of a killed workflow have ended.

    Returns:
        The locked file, to be kept; None in a workflow that the holder of the lock runs.

    Raises:
        RadioError: another living workflow holds it.
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
    """Run a job of a workflow: it ends by SIGTERM when another workflow takes over its directory.

    Outside a workflow this does nothing.
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
    """Terminate this process when the token in the lock file is another workflow's."""
    while True:
        if os.environ[VARIABLE] != _ticket(path) and _read(path):
            log.error("another workflow has taken over %s: this job ends", path.parents[1])
            os.kill(os.getpid(), signal.SIGTERM)
            return
        if over.wait(POLL_S):
            return


def _wait_for_jobs(path: Path) -> None:
    """Return once no job of an earlier workflow is alive."""
    with path.open("a", encoding="utf-8") as file:
        if not _locked(file, fcntl.LOCK_EX | fcntl.LOCK_NB):
            log.warning("waiting for jobs of a killed workflow in %s to end", path.parents[1])
            _locked(file, fcntl.LOCK_EX)


def _locked(file: TextIO, kind: int) -> bool:
    """Whether the lock was taken; also true where the file system has no locks."""
    try:
        fcntl.flock(file, kind)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True


def _ticket(path: Path) -> str:
    """Path of the lock file, and what is in it: process and token."""
    return f"{path} {_read(path)}"


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError:
        return ""
