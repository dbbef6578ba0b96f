"""Read every weight of a checkpoint once, tensor by tensor, to hash it and to find damage early."""

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from radio.models.load import check_finite
from radio.runtime.errors import RadioError


def weight_files(path: Path) -> list[Path]:
    """The files with weights in directory `path`, sorted; safetensors win over pickles.

    Raises:
        RadioError: there are none.
    """
    for pattern in ("model*.safetensors", "pytorch_model*.bin"):
        files = sorted(path.glob(pattern))
        if files:
            return files
    raise RadioError(f"{path} has no weights (model*.safetensors): fetch or make it anew")


def inspect_weights(path: Path) -> str:
    """SHA-256 over all weight files of directory `path` in order, after checking every value.

    Needs memory for one tensor (or one pickled shard, mapped), so that 70 billion weights pass on
    any machine.

    Raises:
        RadioError: a file is damaged, or a weight is NaN or infinite.
    """
    digest = hashlib.sha256()
    for file in weight_files(path):
        with opened(file) as tensors:
            for name in tensors:
                check_finite(name, tensors[name], path)
        with file.open("rb") as stream:
            while chunk := stream.read(1 << 20):
                digest.update(chunk)
    return digest.hexdigest()


@contextmanager
def opened(file: Path) -> Iterator[Mapping[str, Tensor]]:
    """Tensors of a safetensors file or of a pickled state dictionary by name, mapped.

    Raises:
        RadioError: the file is absent or damaged, also if that shows inside the block.
    """
    from safetensors import safe_open

    try:
        if file.suffix == ".safetensors":
            with safe_open(file, framework="pt") as content:
                yield _Lazy(content)
        else:
            yield torch.load(file, map_location="cpu", mmap=True, weights_only=True)
    except RadioError:
        raise
    except Exception as error:  # safetensors and pickle errors share no base class
        raise RadioError(f"{file} is corrupt ({error}): fetch or make it anew") from error


class _Lazy(Mapping[str, Tensor]):
    """An open safetensors file as a mapping."""

    def __init__(self, content: Any) -> None:
        self._content, self._names = content, list(content.keys())

    def __getitem__(self, name: str) -> Tensor:
        tensor: Tensor = self._content.get_tensor(name)
        return tensor

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)
