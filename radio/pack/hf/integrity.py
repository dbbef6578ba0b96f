"""A packed directory as one unit: its manifest holds the size and a digest of every other file.

Weights, configuration and tokenizer of a packed model decide its output together, so a file that
was edited, or that is of another directory, is refused by its name. No file may be edited, not even
a field of config.json that decides nothing: settings are arguments of `from_pretrained`.

Of model.safetensors the digest covers the header, which holds a CRC-32 of every tensor. Loading
compares these with the payload, so that gigabytes are not hashed a second time.
"""

import hashlib
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from radio.runtime.errors import RadioError
from radio.runtime.files import read_json

MODEL, MANIFEST = "model.safetensors", "manifest.json"
# kinds of files that transformers looks for by their names, so that a new one can change a model
READ_BY_NAME = {".bin", ".jinja", ".json", ".model", ".safetensors", ".tiktoken", ".txt"}
TEMPLATES = "additional_chat_templates"


def file_names(folder: Path) -> list[str]:
    """Return the names of all files in a directory and below; none if there is no directory."""
    return sorted(f.relative_to(folder).as_posix() for f in folder.rglob("*") if f.is_file())


def digests(folder: Path) -> dict[str, dict[str, Any]]:
    """Return `files` (bytes) and `sha256` of all files of a packed directory, by their names."""
    names = file_names(folder)
    return {
        "files": {name: (folder / name).stat().st_size for name in names},
        "sha256": {name: _sha256(folder / name) for name in names},
    }


def read_checked_manifest(folder: Path) -> dict[str, Any]:
    """Return the manifest of a packed directory after comparing every file with it.

    Raises:
        RadioError: there is no manifest, or a file is absent, added, or not the one that was
            written; the message names it.
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
    """Return a table of the manifest; a digest or a size that is none differs from the file's."""
    table = manifest.get(key)
    if not isinstance(table, dict):
        raise RadioError(_changed(folder, MANIFEST, f"it has no table {key}"))
    return table


def _check_file(folder: Path, name: str, size_bytes: Any, sha256: Any) -> None:
    """Raise unless a file is there, of this size and digest."""
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
    """Return the SHA-256 of a file; of the header alone if it is model.safetensors."""
    with file.open("rb") as stream:
        if file.name != MODEL:
            return hashlib.file_digest(stream, "sha256").hexdigest()
        start = stream.read(8)
        (length,) = struct.unpack("<Q", start.ljust(8, b"\0"))
        # a length that is damaged does not make a file be read whole
        return hashlib.sha256(start + stream.read(min(length, 2**27))).hexdigest()


def _changed(folder: Path, name: str, reason: str) -> str:
    """Return the sentence for a file that is not as it was written."""
    return (
        f"{folder / name} is not as radio wrote it ({reason}): copy the whole directory again, and "
        "give settings as arguments of from_pretrained"
    )
