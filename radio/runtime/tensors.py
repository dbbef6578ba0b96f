"""Tensor files, written atomically.

Each file carries a CRC-32 of every tensor (name, dtype, shape and bytes) and of its metadata, so
that bits flipped by a disk or a network are detected on reading.
"""

import json
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from radio.runtime.errors import RadioError
from radio.runtime.files import atomic


def save_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, Any]) -> None:
    """Write tensors and a JSON `metadata` object as one safetensors file, atomically."""
    from safetensors.torch import save_file

    contiguous = {name: tensor.cpu().contiguous() for name, tensor in tensors.items()}
    with atomic(path) as scratch:
        save_file(contiguous, scratch, metadata=_header(metadata, _sums(contiguous)))


def tensors_bytes(tensors: Mapping[str, Tensor], metadata: Mapping[str, Any]) -> int:
    """Return the bytes that `save_tensors` would write, or up to 40 bytes per tensor more.

    The header stores each tensor's dtype, shape and offsets; offsets are counted as long numbers.
    """
    place = 10**12
    header: dict[str, Any] = {
        name: {"dtype": "F16", "shape": list(tensor.shape), "data_offsets": [place, place]}
        for name, tensor in tensors.items()
    }
    header["__metadata__"] = _header(metadata, [_hexadecimal(0)] * len(tensors))
    # plus the 8-byte length in front and padding to a multiple of 8 bytes
    words = len(json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode())
    return 16 + words + sum(tensor.nbytes for tensor in tensors.values())


def load_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read a file of `save_tensors` as (tensors, metadata); tensors are memory-mapped.

    Raises:
        RadioError: the file is absent, truncated, altered, not one of ours, or older than the
            checksums.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            metadata, sums = _read_header((file.metadata() or {})["radio"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        if sums != _sums(tensors):
            raise ValueError("the checksum of a tensor does not agree")
    except FileNotFoundError as error:
        raise RadioError(f"{path} does not exist: run the step that makes it") from error
    except OSError as error:
        raise RadioError(f"{path} cannot be read ({error}): give the path of a file") from error
    except (SafetensorError, KeyError, ValueError, RecursionError) as error:
        raise RadioError(
            f"{path} is corrupt or not a radio artifact ({error}): delete it and run again"
        ) from error
    return tensors, metadata


def _header(metadata: Mapping[str, Any], sums: Sequence[str]) -> dict[str, str]:
    """Return our entry of a file's header, with its own checksum in front.

    It is a single entry, since safetensors writes several in any order, and equal files must have
    equal bytes.
    """
    text = json.dumps({"crc32": " ".join(sums), "metadata": metadata}, sort_keys=True)
    return {"radio": f"{_hexadecimal(zlib.crc32(text.encode()))} {text}"}


def _read_header(word: str) -> tuple[dict[str, Any], list[str]]:
    """Return the metadata and the checksums of the tensors.

    Raises:
        ValueError: the entry was altered, or its version has no checksums.
    """
    if word.startswith("{"):
        raise ValueError("it is of an old version of radio, which wrote no checksums")
    crc, _, text = word.partition(" ")
    if crc != _hexadecimal(zlib.crc32(text.encode())):
        raise ValueError("the checksum of the header does not agree")
    content = json.loads(text)
    if not isinstance(content, dict) or not isinstance(content.get("metadata"), dict):
        raise ValueError("its header holds no metadata")
    return content["metadata"], str(content["crc32"]).split()


def _sums(tensors: Mapping[str, Tensor]) -> list[str]:
    """Return the CRC-32 of each contiguous tensor (name, dtype, shape, bytes), sorted by name."""
    sums = []
    for name, tensor in sorted(tensors.items()):
        what = zlib.crc32(f"{name} {tensor.dtype} {list(tensor.shape)}".encode())
        sums.append(zlib.crc32(tensor.reshape(-1).view(torch.uint8).numpy().data, what))
    return [_hexadecimal(crc) for crc in sums]


def _hexadecimal(crc: int) -> str:
    return f"{crc:08x}"
