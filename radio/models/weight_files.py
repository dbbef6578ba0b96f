"""Read every weight of a checkpoint once to hash it and to find damage early."""

import hashlib
from collections.abc import Iterable
from pathlib import Path

from torch import Tensor

from radio.models.load import check_finite
from radio.models.stored import opened, weight_files
from radio.runtime import content
from radio.runtime.errors import RadioError

# all files that decide token ids
TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
)


def inspect_weights(path: Path) -> str:
    """Check every value in directory `path`; return the SHA-256 over all weight files in order.

    Needs memory for one tensor (or one mapped pickle shard), so 70 billion weights fit on any
    machine.

    Raises:
        RadioError: a file is damaged, a weight is NaN or infinite, or a matrix is zero.
    """
    files = weight_files(path)
    for file in files:
        with opened(file) as tensors:
            for name in tensors:
                tensor = tensors[name]
                check_finite(name, tensor, path)
                _check_not_zero(name, tensor, path)
    return content.sha256_of_files(files)


def check_unchanged(path: Path, sha256: str | None) -> None:
    """Refuse a checkpoint whose weights differ from those that `radio prepare` found.

    Args:
        path: directory of the checkpoint.
        sha256: result of `inspect_weights`; None if unknown.

    Raises:
        RadioError: the weights changed or are absent.
    """
    if sha256 is not None and content.sha256_of_files(weight_files(path)) != sha256:
        raise RadioError(
            f"the weights in {path} changed after radio prepare recorded their SHA-256 in "
            "artifacts.model: run radio prepare again, and then the steps after it"
        )


def files_sha256(path: Path, names: Iterable[str]) -> str:
    """Return the SHA-256 over names and contents of the listed files that exist in `path`."""
    digest = hashlib.sha256()
    for name in names:
        if (path / name).is_file():
            text = (path / name).read_bytes()
            digest.update(f"{name} {len(text)} ".encode() + text)
    return digest.hexdigest()


def _check_not_zero(name: str, weight: Tensor, path: Path) -> None:
    """Refuse a matrix of zeros: it was never trained, or was lost.

    Zero rows, columns or groups are pruned ones and are quantized like any other.

    Raises:
        RadioError: all values are zero.
    """
    if weight.dim() > 1 and not weight.any():
        raise RadioError(
            f"all values of {name} in {path} are zero: fetch or make the checkpoint again"
        )
