"""Read every weight of a checkpoint once, tensor by tensor, to hash it and to find damage early."""

import hashlib
from pathlib import Path

from torch import Tensor

from radio.models.load import check_finite
from radio.models.stored import opened, weight_files
from radio.runtime.errors import RadioError


def inspect_weights(path: Path) -> str:
    """SHA-256 over all weight files of directory `path` in order, after checking every value.

    Needs memory for one tensor (or one pickled shard, mapped), so that 70 billion weights pass on
    any machine.

    Raises:
        RadioError: a file is damaged, a weight is NaN or infinite, or a matrix is zero.
    """
    digest = hashlib.sha256()
    for file in weight_files(path):
        with opened(file) as tensors:
            for name in tensors:
                tensor = tensors[name]
                check_finite(name, tensor, path)
                _check_not_zero(name, tensor, path)
        with file.open("rb") as stream:
            while chunk := stream.read(1 << 20):
                digest.update(chunk)
    return digest.hexdigest()


def _check_not_zero(name: str, weight: Tensor, path: Path) -> None:
    """Refuse a matrix without any value but zero: it was never trained, or lost.

    A row, a column or a group of zeros is a pruned one, and is quantized like any other.

    Raises:
        RadioError: all values are zero.
    """
    if weight.dim() > 1 and not weight.any():
        raise RadioError(
            f"all values of {name} in {path} are zero: fetch or make the checkpoint again"
        )
