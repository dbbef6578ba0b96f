"""SHA-256 of files whose content may change under the same path.

Hashing a large file is slow, so its SHA-256 is cached in `$RADIO_CACHE/sha256` with the file's
path, size, modification and change times and inode. It is reused as long as these agree.
"""

import hashlib
import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from radio.runtime.errors import RadioError
from radio.runtime.files import read_json, write_json
from radio.runtime.wheel import REPOSITORY, cache_dir

log = logging.getLogger(__name__)

# files of a checkpoint that decide results: weights, configuration, tokenizer
DECIDING = ("*.safetensors", "*.bin", "*.json", "*.model", "*.txt", "*.jinja")
# smaller files are hashed as fast as a cached SHA-256 is read
REMEMBERED_BYTES = 16 << 20
# a file may change again within the resolution of its time stamps
SETTLED_NS = 2 * 10**9


class Stamp(NamedTuple):
    """File attributes that show whether a file has changed."""

    path: str
    size: int
    modified_ns: int
    changed_ns: int
    inode: int


def sha256_of_files(paths: Sequence[Path]) -> str:
    """Return the hexadecimal SHA-256 of the bytes of all files in order.

    Raises:
        OSError: a file is absent or cannot be read.
    """
    return _remembered(tuple(_stamp(path) for path in paths))


def checkpoint_digest(checkpoint: Path) -> str:
    """Return the SHA-256 of the names and contents of all files that decide a model's results.

    Raises:
        OSError: a file cannot be read.
    """
    found = sorted(path for pattern in DECIDING for path in checkpoint.glob(pattern))
    named = [(path.name, sha256_of_files([path])) for path in found if path.is_file()]
    return hashlib.sha256(repr(named).encode()).hexdigest()


def digests_of_paths(config: Any) -> list[str]:
    """Return the SHA-256 of everything that a step's configuration names by `path`.

    Keys `path` are found at any depth. A checkpoint is hashed by `checkpoint_digest`, a folder of
    texts by the files that its `source` names. Absent or unreadable files get a digest of their
    own: the step itself reports them.

    Args:
        config: plain Python values.
    """
    return [_digest_of(node) for node in _nodes(config) if _is_path(node.get("path"))]


def _is_path(value: Any) -> bool:
    return isinstance(value, str) and value != "???"


def _nodes(config: Any) -> Iterator[Mapping[str, Any]]:
    """Yield all mappings of a configuration, at any depth."""
    if isinstance(config, Mapping):
        yield config
    for value in config.values() if isinstance(config, Mapping) else config:
        if isinstance(value, Mapping | list):
            yield from _nodes(value)


def _digest_of(node: Mapping[str, Any]) -> str:
    """Return the digest of the file or folder at a node's `path`."""
    path = Path(node["path"]).expanduser()
    # the path of the packaged text is relative to the repository
    path = path if path.exists() else REPOSITORY / path
    try:
        if path.is_file():
            return sha256_of_files([path])
        files = (node.get("source") or {}).get("files")
        if files:
            return sha256_of_files([path / name for name in files.values()])
        return checkpoint_digest(path)
    except OSError as error:
        return f"unreadable: {error.strerror}"


def _stamp(path: Path) -> Stamp:
    """Return the stamp of a file; symbolic links are followed."""
    path = path.resolve()
    state = path.stat()
    return Stamp(str(path), state.st_size, state.st_mtime_ns, state.st_ctime_ns, state.st_ino)


@cache
def _remembered(stamps: tuple[Stamp, ...]) -> str:
    """Return the SHA-256 of the files with these stamps, from the cache if possible."""
    if sum(stamp.size for stamp in stamps) < REMEMBERED_BYTES:
        return _sha256(stamps)
    name = hashlib.sha256(repr([stamp.path for stamp in stamps]).encode()).hexdigest()[:32]
    record = cache_dir() / "sha256" / f"{name}.json"
    content = {"files": [list(stamp) for stamp in stamps]}
    try:
        kept = read_json(record) if record.exists() else {}
    except (RadioError, OSError):  # damaged: rewritten below
        kept = {}
    if kept.get("files") == content["files"] and isinstance(kept.get("sha256"), str):
        return str(kept["sha256"])
    began_ns = time.time_ns()
    sha256 = _sha256(stamps)
    if began_ns - max(stamp.changed_ns for stamp in stamps) > SETTLED_NS:
        try:
            write_json(record, {**content, "sha256": sha256})
        except (RadioError, OSError) as error:
            log.debug("the SHA-256 of %s is not remembered: %s", stamps[0].path, error)
    return sha256


def _sha256(stamps: Sequence[Stamp]) -> str:
    """Return the SHA-256 of the bytes of all files in order."""
    sha256 = hashlib.sha256()
    for stamp in stamps:
        with open(stamp.path, "rb") as file:
            while chunk := file.read(1 << 20):
                sha256.update(chunk)
    return sha256.hexdigest()
