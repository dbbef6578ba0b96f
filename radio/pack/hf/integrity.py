"""Integrity of a packed directory: the manifest holds the size and digest of every other file.

Weights, configuration and tokenizer together determine a model's output, so a file that was edited
or belongs to another directory is an error that names the file. This includes fields of config.json
that have no effect: settings are arguments of `from_pretrained`.

For model.safetensors, the digest covers the header, which holds a CRC-32 of every tensor. Loading
checks these against the payload, so gigabytes are not hashed a second time.
"""

import hashlib
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from radio.runtime.errors import RadioError
from radio.runtime.files import read_json

MODEL, MANIFEST = "model.safetensors", "manifest.json"
# suffixes of files that transformers finds by name, so that an added one can change a model
READ_BY_NAME = {".bin", ".jinja", ".json", ".model", ".safetensors", ".tiktoken", ".txt"}
TEMPLATES = "additional_chat_templates"


def file_names(folder: Path) -> list[str]:
    """Return the names of all files in a directory, recursively; none if it does not exist."""
    return sorted(f.relative_to(folder).as_posix() for f in folder.rglob("*") if f.is_file())


def digests(folder: Path) -> dict[str, dict[str, Any]]:
    """Return `files` (bytes) and `sha256` of all files of a packed directory, by name."""
    names = file_names(folder)
    return {
        "files": {name: (folder / name).stat().st_size for name in names},
        "sha256": {name: _sha256(folder / name) for name in names},
    }


def read_checked_manifest(folder: Path) -> dict[str, Any]:
    """Return the manifest of a packed directory after comparing every file with it.

    Raises:
        RadioError: there is no manifest, or a file is absent, added or changed; the message names
            it.
    """
    if not (folder / MANIFEST).is_file():
        raise RadioError(
            f"{folder} has no {MANIFEST}, so it is not a packed model, or not all of one: give the "
            "whole directory that `radio compress ... out=DIR` wrote"
        )
    manifest = read_json(folder / MANIFEST)
    files, sha256 = (_checked_words(folder, manifest, key) for key in ("files", "sha256"))
    if files.keys() != sha256.keys() or not {MODEL, "config.json"} <= files.keys():
        raise RadioError(_changed(folder, MANIFEST, "it does not list the files of a packed model"))
    own_bytes = (folder / MANIFEST).stat().st_size
    for name, size_bytes in files.items():
        _check_file(folder, name, size_bytes, sha256[name])
    if manifest.get("size_bytes") != sum(files.values()) + own_bytes:
        raise RadioError(_changed(folder, MANIFEST, "its size_bytes is not that of the files"))
    for name in file_names(folder):
        path = Path(name)
        if (
            path.suffix in READ_BY_NAME
            and path.parent.as_posix() in (".", TEMPLATES)
            and name not in (*files, MANIFEST)
        ):
            raise RadioError(_changed(folder, name, f"{MANIFEST} does not list it"))
    return manifest


def _checked_words(folder: Path, manifest: Mapping[str, Any], key: str) -> dict[str, Any]:
    """Return a table of the manifest; invalid entries are found by comparison with the files."""
    table = manifest.get(key)
    if not isinstance(table, dict):
        raise RadioError(_changed(folder, MANIFEST, f"it has no table {key}"))
    return table


def _check_file(folder: Path, name: str, size_bytes: Any, sha256: Any) -> None:
    """Raise unless a file exists with this size and digest."""
    file = folder / name
    if Path(name).is_absolute() or ".." in Path(name).parts:
        raise RadioError(_changed(folder, MANIFEST, f"it lists {name}, outside the directory"))
    if not file.is_file():
        raise RadioError(_changed(folder, name, f"{MANIFEST} lists it, and it is absent"))
    if (there := file.stat().st_size) != size_bytes or isinstance(size_bytes, bool):
        raise RadioError(_changed(folder, name, f"it has {there} bytes, not {size_bytes}"))
    if _sha256(file) != sha256:
        raise RadioError(_changed(folder, name, "its SHA-256 is another"))


def _sha256(file: Path) -> str:
    """Return the SHA-256 of a file; for model.safetensors, of its header only."""
    with file.open("rb") as stream:
        if file.name != MODEL:
            return hashlib.file_digest(stream, "sha256").hexdigest()
        start = stream.read(8)
        (length,) = struct.unpack("<Q", start.ljust(8, b"\0"))
        # limited, so that a damaged length does not cause the whole file to be read
        return hashlib.sha256(start + stream.read(min(length, 2**27))).hexdigest()


def _changed(folder: Path, name: str, reason: str) -> str:
    """Return the error message for a changed file."""
    return (
        f"{folder / name} is not as radio wrote it ({reason}): copy the whole directory again, and "
        "give settings as arguments of from_pretrained"
    )
