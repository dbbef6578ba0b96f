"""Tensors that a checkpoint directory stores: their files, shapes and types."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from zipfile import is_zipfile

import torch
from torch import Tensor

from radio.runtime.errors import RadioError
from radio.runtime.exhausted import exhausted

# in the order in which transformers looks for them: one file, or an index of several
WHOLE_OR_INDEX = (
    ("model.safetensors", "model.safetensors.index.json"),
    ("pytorch_model.bin", "pytorch_model.bin.index.json"),
)
# names of types in safetensors and in torch
TORCH_NAME = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16"}


class Stored(NamedTuple):
    """A tensor in a file.

    Attributes:
        file: the file that holds it.
        shape: its shape.
        dtype: its type; torch's name for floats of 2 to 8 bytes.
    """

    file: Path
    shape: tuple[int, ...]
    dtype: str


def weight_files(path: Path) -> list[Path]:
    """Return the weight files that transformers would load from directory `path`, sorted.

    Raises:
        RadioError: there are none, or an index names a file that is absent or in another directory.
    """
    for whole, index in WHOLE_OR_INDEX:
        if (path / whole).is_file():
            return [path / whole]
        if (path / index).is_file():
            return _of_index(path / index)
    raise RadioError(
        f"{path} has no weights (model.safetensors or pytorch_model.bin, or the index of their "
        "parts): fetch or make the checkpoint again"
    )


def stored_tensors(path: Path) -> dict[str, Stored]:
    """Return all tensors in directory `path` by name, without reading values from safetensors.

    Raises:
        RadioError: there are no weight files, or one is damaged or holds other objects than
            tensors.
    """
    found: dict[str, Stored] = {}
    for file in weight_files(path):
        with opened(file) as tensors:
            if isinstance(tensors, _Lazy):
                found |= {name: Stored(file, *tensors.header(name)) for name in tensors}
                continue
            for name, tensor in tensors.items():
                dtype = str(tensor.dtype).removeprefix("torch.")
                found[name] = Stored(file, tuple(tensor.shape), dtype)
    return found


@contextmanager
def opened(file: Path) -> Iterator[Mapping[str, Tensor]]:
    """Open a safetensors file or a pickled state dictionary as tensors by name.

    Tensors are memory-mapped, except in pickles of the format before torch 1.6.

    Raises:
        RadioError: the file is absent or damaged (also if this shows inside the block), or memory
            is too small for it.
    """
    from safetensors import safe_open

    try:
        if file.suffix == ".safetensors":
            with safe_open(file, framework="pt") as content:
                yield _Lazy(content)
        else:
            yield _unpickled(file)
    except RadioError:
        raise
    except Exception as error:  # safetensors and pickle errors share no base class
        size_bytes = file.stat().st_size if file.is_file() else None
        if full := exhausted(error, f"reading {file}", size_bytes):
            raise full from error
        raise RadioError(
            f"{file} is corrupt ({_first_line(error)}): fetch or make the checkpoint again"
        ) from error


def _unpickled(file: Path) -> dict[str, Tensor]:
    """Return a pickled state dictionary; code inside it is refused, not run."""
    found = torch.load(file, map_location="cpu", mmap=is_zipfile(file), weights_only=True)
    if not isinstance(found, dict) or not all(isinstance(each, Tensor) for each in found.values()):
        raise RadioError(
            f"{file} holds other things than tensors by name: save the model's state_dict() there"
        )
    return found


def _of_index(index: Path) -> list[Path]:
    """Return the files that an index names, each once.

    Raises:
        RadioError: the index is damaged, or a file is absent or not in the index's directory.
    """
    try:
        names = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
        files = sorted(index.parent / name for name in names)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise RadioError(
            f"{index} is corrupt ({type(error).__name__}: {_first_line(error)}): fetch or make the "
            "checkpoint again"
        ) from error
    for file in files:
        if file.parent != index.parent or not file.is_file():
            raise RadioError(
                f"{index} names {str(file.name)!r}, which is not a file in its directory: fetch or "
                "make the checkpoint again"
            )
    if not files:
        raise RadioError(f"{index} names no file: fetch or make the checkpoint again")
    return files


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:200] if lines else type(error).__name__


class _Lazy(Mapping[str, Tensor]):
    """An open safetensors file as a mapping."""

    def __init__(self, content: Any) -> None:
        self._content, self._names = content, list(content.keys())

    def header(self, name: str) -> tuple[tuple[int, ...], str]:
        """Return the shape and type of a tensor without reading its values."""
        part = self._content.get_slice(name)
        dtype = str(part.get_dtype())
        return tuple(part.get_shape()), TORCH_NAME.get(dtype, dtype)

    def __getitem__(self, name: str) -> Tensor:
        tensor: Tensor = self._content.get_tensor(name)
        return tensor

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)
