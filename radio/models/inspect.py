"""Read every weight of a checkpoint once, tensor by tensor, to hash it and to find damage early."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

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
        for name, weight in _tensors(file):
            check_finite(name, weight, path)
        with file.open("rb") as stream:
            while chunk := stream.read(1 << 20):
                digest.update(chunk)
    return digest.hexdigest()


def _tensors(file: Path) -> Iterator[tuple[str, Tensor]]:
    """Yield (name, weight) of a safetensors file or of a pickled state dictionary."""
    from safetensors import safe_open

    try:
        if file.suffix == ".safetensors":
            with safe_open(file, framework="pt") as content:
                for name in content.keys():  # noqa: SIM118
                    yield name, content.get_tensor(name)
        else:
            yield from torch.load(file, map_location="cpu", mmap=True, weights_only=True).items()
    except RadioError:
        raise
    except Exception as error:  # safetensors and pickle errors share no base class
        raise RadioError(f"{file} is corrupt ({error}): fetch or make it anew") from error
