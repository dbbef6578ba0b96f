"""Files that are either whole or absent: atomic writes, checked reads."""

import errno
import json
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from radio.runtime.errors import RadioError

NO_SPACE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Yield a scratch path beside `path`; rename it to `path` only if the block succeeds.

    The block may create a file or a directory there; its files get the mode that the umask leaves
    to new ones, whatever library wrote them. An older directory is moved aside first, never emptied
    under its name. On any error the scratch is removed, and a full disk becomes a `RadioError`.
    """
    scratch_home = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        scratch_home = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
        scratch = scratch_home / path.name
        yield scratch
        _grant(scratch, scratch_home)
        if path.is_dir():
            os.rename(path, scratch_home / f"{path.name}.old")
        os.replace(scratch, path)
    except Exception as error:
        if not _says_no_space(error):
            raise
        raise RadioError(
            f"no space to write {path}: free some disk, or run with snakemake --directory on a "
            "larger one; nothing was left behind"
        ) from error
    finally:
        if scratch_home is not None:
            shutil.rmtree(scratch_home, ignore_errors=True)


def check_writable(path: Path) -> None:
    """Find out now, not after hours, that `path` cannot be written; nothing is left there.

    Raises:
        RadioError: it cannot.
    """
    folder = next(each for each in path.absolute().parents if each.exists())
    try:
        with tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=folder):
            pass
    except OSError as error:
        if _says_no_space(error):
            raise
        raise RadioError(
            f"{path} cannot be written ({folder}: {error.strerror}): give another path for out"
        ) from error


def _grant(made: Path, scratch_home: Path) -> None:
    """Give a file, or all files of a directory, the mode of a file that `open` creates here."""
    probe = scratch_home / f"{made.name}.mode"
    probe.touch()
    mode = stat.S_IMODE(probe.stat().st_mode)
    for file in made.rglob("*") if made.is_dir() else [made]:
        if file.is_file():
            file.chmod(mode)


def _says_no_space(error: Exception) -> bool:
    """Whether the disk is full, in whatever wrapping (OSError, safetensors, torch) it is told."""
    number = getattr(error, "errno", None)
    return number in NO_SPACE or any(os.strerror(code) in str(error) for code in NO_SPACE)


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write `content` as indented JSON, atomically."""
    with atomic(path) as scratch:
        scratch.write_text(json.dumps(content, indent=2, allow_nan=False) + "\n")


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object written by `write_json`.

    Raises:
        RadioError: the file is absent or is not a JSON object.
    """
    try:
        content = json.loads(path.read_text())
    except FileNotFoundError as error:
        raise RadioError(f"{path} does not exist: run the step that makes it") from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise RadioError(f"{path} is not valid JSON ({error}): delete it and run again") from error
    if not isinstance(content, dict):
        raise RadioError(f"{path} holds no JSON object: delete it and run again")
    return content
