"""Atomic writes and checked reads: a file is either complete or absent."""

import errno
import fcntl
import json
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from radio.runtime.errors import MachineError, RadioError

NO_SPACE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
# names in a scratch folder: the file that its living process locks; a directory being replaced
OWNER, OLD = ".owner", ".old"


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Yield a scratch path in the folder of `path`; rename it to `path` if the block succeeds.

    The block may create a file or a directory there. Its files get the mode that the umask gives to
    new files, whichever library wrote them. A file never replaces a directory, nor the reverse. On
    any error the scratch path is removed; a full disk becomes a `RadioError`.
    """
    with scratch_folder(path) as folder:
        scratch = folder / path.name
        yield scratch
        grant_mode(scratch, folder)
        with locked(path.parent):
            replace(path, scratch, folder)


@contextmanager
def scratch_folder(path: Path) -> Iterator[Path]:
    """Yield a new folder next to `path` that exists as long as the block.

    Folders that killed processes left for the same `path` are removed first; a living process holds
    a lock on a file in its own folder. Newly created parent folders that stay empty are removed
    too.

    Raises:
        RadioError: the disk is full, before or inside the block.
    """
    created = [folder for folder in path.absolute().parents if not folder.exists()]
    folder = owner = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with locked(path.parent):
            _remove_abandoned(path)
            folder = Path(tempfile.mkdtemp(prefix=_prefix(path), dir=path.parent))
            owner = (folder / OWNER).open("wb")
            with suppress(OSError):  # a file system without locks
                fcntl.flock(owner, fcntl.LOCK_EX)
        yield folder
    except Exception as error:
        if not _says_no_space(error):
            raise
        raise MachineError(
            f"no space to write {path}: free some disk, or run with snakemake --directory on a "
            "larger one; nothing was left behind"
        ) from error
    finally:
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)
        if owner is not None:
            owner.close()
        with suppress(OSError):  # stop at the first folder that is not empty
            for above in created:
                above.rmdir()


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold an exclusive lock on `folder` against other processes that rename files in it.

    The lock is held only for renames, never for a whole job, so it is released soon. On file
    systems without locks (some network file systems) nothing is locked.
    """
    handle = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def replace(path: Path, made: Path, folder: Path) -> None:
    """Rename `made` to `path`; an existing directory is first moved into the scratch `folder`.

    Raises:
        RadioError: one is a directory and the other is not.
    """
    if os.path.lexists(path) and _is_directory(path) != _is_directory(made):
        kind = "a directory" if _is_directory(path) else "not a directory"
        raise RadioError(f"{path} is {kind} and cannot be replaced: give another path for out")
    if _is_directory(path):
        os.rename(path, folder / OLD)
    os.replace(made, path)


def check_writable(path: Path) -> None:
    """Refuse a `path` that is not writable before the work starts; create nothing there.

    Raises:
        RadioError: the path is not writable.
    """
    folder = next(each for each in path.absolute().parents if each.exists())
    try:
        with tempfile.TemporaryDirectory(prefix=_prefix(path), dir=folder):
            pass
    except OSError as error:
        if _says_no_space(error):
            raise
        raise RadioError(
            f"{path} cannot be written ({folder}: {error.strerror}): give another path for out"
        ) from error


def _prefix(path: Path) -> str:
    """Return the prefix of the scratch folders for `path`, which no other program uses."""
    return f".{path.name}.radio-"


def _is_directory(path: Path) -> bool:
    """Return whether `path` itself is a directory, not a link to one."""
    return path.is_dir() and not path.is_symlink()


def _remove_abandoned(path: Path) -> None:
    """Remove scratch folders for `path` whose process is dead; the caller holds the lock.

    A process that was killed while replacing a directory has moved the old one into its scratch
    folder; the old directory is moved back.
    """
    prefix = _prefix(path)
    for folder in [each for each in path.parent.iterdir() if each.name.startswith(prefix)]:
        if _has_living_owner(folder):
            continue
        if (folder / OLD).is_dir() and not os.path.lexists(path):
            os.rename(folder / OLD, path)
        shutil.rmtree(folder, ignore_errors=True)


def _has_living_owner(folder: Path) -> bool:
    """Return whether a process holds the lock in a scratch folder; True if unknown."""
    try:
        with (folder / OWNER).open("r+b") as owner:
            fcntl.flock(owner, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False  # killed before it created the file: both happen under the folder's lock
    except OSError:
        return True
    return False


def grant_mode(made: Path, scratch_home: Path) -> None:
    """Give a file, or all files of a directory, the mode that `open` gives a new file here."""
    probe = scratch_home / f"{made.name}.mode"
    probe.touch()
    mode = stat.S_IMODE(probe.stat().st_mode)
    for file in made.rglob("*") if made.is_dir() else [made]:
        if file.is_file():
            file.chmod(mode)


def _says_no_space(error: Exception) -> bool:
    """Return whether the disk is full, whichever class reports it (OSError, safetensors, torch)."""
    number = getattr(error, "errno", None)
    return number in NO_SPACE or any(os.strerror(code) in str(error) for code in NO_SPACE)


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write `content` as indented JSON, atomically."""
    with atomic(path) as scratch:
        text = json.dumps(content, indent=2, allow_nan=False) + "\n"
        scratch.write_text(text, encoding="utf-8")


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object written by `write_json`.

    Raises:
        RadioError: the file is absent or not a JSON object.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise RadioError(f"{path} does not exist: run the step that makes it") from error
    except OSError as error:
        raise RadioError(f"{path} cannot be read ({error.strerror}): give another path") from error
    except (ValueError, RecursionError) as error:
        raise RadioError(f"{path} is not valid JSON ({error}): delete it and run again") from error
    if not isinstance(content, dict):
        raise RadioError(f"{path} holds no JSON object: delete it and run again")
    return content
