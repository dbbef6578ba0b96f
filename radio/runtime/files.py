"""Files that are either whole or absent: atomic writes, checked reads."""

import errno
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch import Tensor

from radio.runtime.errors import RadioError

NO_SPACE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Yield a scratch path beside `path`; rename it to `path` only if the block succeeds.

    The block may create a file or a directory there. On any error the scratch is removed, and a
    full disk becomes a `RadioError`.
    """
    scratch_home = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        scratch_home = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
        scratch = scratch_home / path.name
        yield scratch
        if path.is_dir():
            shutil.rmtree(path)
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


def save_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, Any]) -> None:
    """Write tensors and a JSON `metadata` object as one safetensors file, atomically."""
    from safetensors.torch import save_file

    contiguous = {name: tensor.contiguous() for name, tensor in tensors.items()}
    with atomic(path) as scratch:
        save_file(contiguous, scratch, metadata={"radio": json.dumps(metadata, sort_keys=True)})


def tensors_bytes(tensors: Mapping[str, Tensor], metadata: Mapping[str, Any]) -> int:
    """Bytes of the file that `save_tensors` would write, or a few more: at most 40 a tensor.

    The header names each tensor's kind, shape and place; places are taken to be long numbers.
    """
    place = 10**12
    header: dict[str, Any] = {
        name: {"dtype": "F16", "shape": list(tensor.shape), "data_offsets": [place, place]}
        for name, tensor in tensors.items()
    }
    header["__metadata__"] = {"radio": json.dumps(metadata, sort_keys=True)}
    # eight bytes of length in front, and padding to a multiple of eight
    words = len(json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode())
    return 16 + words + sum(tensor.nbytes for tensor in tensors.values())


def load_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read a file of `save_tensors` as (tensors, metadata).

    Raises:
        RadioError: the file is absent, truncated, or not one of ours.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            metadata = json.loads((file.metadata() or {})["radio"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except FileNotFoundError as error:
        raise RadioError(f"{path} does not exist: run the step that makes it") from error
    except (SafetensorError, KeyError, json.JSONDecodeError) as error:
        raise RadioError(
            f"{path} is corrupt or not a radio artifact ({error}): delete it and run again"
        ) from error
    return tensors, metadata
