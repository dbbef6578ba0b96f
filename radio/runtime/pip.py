"""Files of PyPI that pip downloads, since it honours the machine's index and proxy settings."""

import logging
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from radio.runtime.errors import RadioError

log = logging.getLogger(__name__)


def pip_download(requirement: str, arguments: Sequence[str], suffix: str, folder: Path) -> Path:
    """The one file with this suffix that `pip download` leaves in an empty `folder`.

    Args:
        requirement: what is asked for, for messages.
        arguments: of pip, the requirement among them; dependencies are never taken.
        suffix: of the file.
        folder: where it comes to lie.

    Raises:
        RadioError: pip fails (no network, no such version, another hash, no space).
    """
    log.info("downloading %s", requirement)
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--quiet", "--retries=2"]
    command += ["--disable-pip-version-check", "--timeout=30", f"--dest={folder}", *arguments]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    files = list(folder.glob(f"*{suffix}"))
    if answer.returncode == 0 and len(files) == 1:
        return files[0]
    lines = [line for line in answer.stderr.splitlines() if "ERROR" in line] or ["none came"]
    raise RadioError(
        f"pip could not download {requirement} ({lines[-1].strip()}): connect to the network (or "
        "point PIP_INDEX_URL at a mirror) and run again, or copy RADIO_CACHE from a machine that "
        "has it"
    )
