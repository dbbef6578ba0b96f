"""A compiled extension in a cache folder: built once, verified before each load.

A library runs with the rights of the user who loads it, so nothing is loaded from a path that
another user can write to. An interrupted build or a damaged file does not match its digest, and is
rebuilt.
"""

import fcntl
import grp
import importlib.util
import os
import pwd
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from types import ModuleType

from radio.runtime.files import atomic


class UntrustedFolderError(OSError):
    """Another user can write to the cache."""


def load(path: Path, sources: Sequence[Path], flags: Sequence[str]) -> ModuleType:
    """Return the module `path`, built from `sources` if the cache has no intact copy.

    Args:
        path: `FOLDER/NAME.so`; its digest is in `FOLDER/NAME.so.sha256`.
        sources: source files.
        flags: compiler flags.

    Raises:
        UntrustedFolderError: another user can write to the file or a folder above it.
        OSError, RuntimeError, ImportError: the extension cannot be built or loaded.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    require_trust(path.parent)
    if not _intact(path):
        _build(path, sources, flags)
    require_trust(path)
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def require_trust(path: Path) -> None:
    """Check that only this user and root can change the file or folder at `path`.

    All parents are checked, before and after symbolic links are resolved. A shared folder with the
    sticky bit, like /tmp, is accepted: only the owner of a file can replace it there.

    Raises:
        UntrustedFolderError: another user can write to the path; the message names the parent.
    """
    places = dict.fromkeys(
        place for each in (path.absolute(), path.resolve()) for place in (each, *each.parents)
    )
    for place in places:
        status = place.lstat()
        owned = status.st_uid in {0, os.geteuid()}
        if not owned or _others_write(status):
            raise UntrustedFolderError(
                f"{place} belongs to another user or can be written by one: run `chmod go-w` on "
                "it, or set TORCH_EXTENSIONS_DIR to a folder of your own"
            )


def _others_write(status: os.stat_result) -> bool:
    mode = status.st_mode
    if stat.S_ISLNK(mode) or (stat.S_ISDIR(mode) and mode & stat.S_ISVTX):
        return False
    by_group = mode & stat.S_IWGRP and not _own_group(status.st_gid)
    return bool(by_group or mode & stat.S_IWOTH)


def _own_group(gid: int) -> bool:
    """Return whether this user is the only member of a group, as in most distributions."""
    try:
        group, user = grp.getgrgid(gid), pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return False
    return group.gr_name == user and set(group.gr_mem) <= {user}


def _intact(path: Path) -> bool:
    try:
        return _digest_of(path).read_text(encoding="utf-8") == sha256(path.read_bytes()).hexdigest()
    except (OSError, UnicodeDecodeError):
        return False


def _build(path: Path, sources: Sequence[Path], flags: Sequence[str]) -> None:
    """Compile into the cache; a second process waits and uses the first one's build."""
    from torch.utils import cpp_extension

    with _locked(path.with_suffix(".lock")):
        if _intact(path):
            return
        with atomic(path) as scratch:
            cpp_extension.load(
                path.stem,
                [str(source) for source in sources],
                extra_cflags=list(flags),
                build_directory=str(scratch.parent),
            )
            with scratch.open("rb") as built:
                os.fsync(built)
        with atomic(_digest_of(path)) as scratch:
            scratch.write_text(sha256(path.read_bytes()).hexdigest(), encoding="utf-8")


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold a lock, which also ends with the process."""
    with path.open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _digest_of(path: Path) -> Path:
    return path.with_name(f"{path.name}.sha256")
