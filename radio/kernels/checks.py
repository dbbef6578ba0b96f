"""Checks that kernels stay inside a packed matrix's tensors and write every output.

The compiled kernel makes the same checks (`csrc/matrix.h`); all other readers use this module.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from weakref import ref

import torch
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

from radio.kernels.layout import BLOCK, LANES, WORD_BITS, PackedMatrix
from radio.runtime.errors import RadioError
from radio.theory.allocation import MAX_BITS

# maximum of rows and columns, which keeps the kernels' 32-bit offsets in range
MAX_SIDE = 2**27


@dataclass(frozen=True)
class Checked:
    """State of a matrix's tensors when they were checked.

    Attributes:
        most_tiles: largest number of tiles in a cluster.
    """

    tensors: Sequence["ref[Tensor]"]
    versions: Sequence[int]
    sizes: Sequence[torch.Size]
    most_tiles: int


_known = WeakTensorKeyDictionary()


def checked(matrix: PackedMatrix) -> Checked:
    """Check a matrix if its tensors are new or were modified since the last call.

    Raises:
        RadioError: the matrix is damaged.
    """
    tensors = matrix.tensors()
    versions = [0 if tensor.is_inference() else tensor._version for tensor in tensors]
    known: Checked | None = _known.get(matrix.words)
    if (
        known is not None
        and known.versions == versions
        and all(seen() is tensor for seen, tensor in zip(known.tensors, tensors, strict=True))
        and known.sizes == [tensor.shape for tensor in tensors]
    ):
        return known
    check(matrix)
    most_tiles = int(matrix.first_tile.diff().max())
    sizes = [tensor.shape for tensor in tensors]
    known = Checked([ref(tensor) for tensor in tensors], versions, sizes, most_tiles)
    _known[matrix.words] = known
    return known


def check(matrix: PackedMatrix) -> None:
    """Check all indices and sizes, and that all values are finite.

    Raises:
        RadioError: the matrix is damaged.
    """
    _check_shapes(matrix)
    _check_words(matrix)
    _check_order(matrix)
    for name in ("scale", "location", "levels"):
        _require(bool(getattr(matrix, name).isfinite().all()), f"{name} must be finite")


def _check_shapes(m: PackedMatrix) -> None:
    clusters, cols = m.columns.shape if m.columns.ndim == 2 else (0, 0)
    _require(0 < m.rows <= MAX_SIDE, "rows must be 1 to 2^27")
    _require(0 < cols <= MAX_SIDE, "columns must be 1 to 2^27")
    _require(clusters > 0, "there must be a cluster")
    expected = {
        "words": (torch.int32, (m.words.numel(),)),
        "first_word": (torch.int64, (clusters + 1,)),
        "first_tile": (torch.int32, (clusters + 1,)),
        "counts": (torch.int32, (clusters, MAX_BITS + 1)),
        "columns": (torch.int32, (clusters, cols)),
        "scale": (torch.float16, (clusters, cols)),
        "location": (torch.float16, (clusters, cols)),
        "row": (torch.int32, (*m.row.shape[:1], LANES)),
        "levels": (torch.float32, (2 ** (MAX_BITS + 1) - 2,)),
    }
    for name, tensor in m.named_tensors().items():
        dtype, shape = expected[name]
        fits = tensor.dtype == dtype and tensor.shape == shape and tensor.is_contiguous()
        _require(fits, f"{name} must be {list(shape)} of {dtype}, contiguous")
        _require(tensor.device == m.words.device, "tensors must be on one device")


def _check_words(m: PackedMatrix) -> None:
    for name, size in (("first_tile", len(m.row)), ("first_word", len(m.words))):
        bounds = getattr(m, name).long()
        rises = bool((bounds.diff() >= 0).all()) and [int(bounds[0]), int(bounds[-1])] == [0, size]
        _require(rises, f"{name} must rise from 0 to the number of {name[6:]}s")
    counts = m.counts.long()
    _require(bool((counts >= 0).all()), "counts must not be negative")
    _require(
        bool((counts.sum(1) == m.shape[1]).all()), "counts of a cluster must add up to the columns"
    )
    bits = torch.arange(MAX_BITS + 1, device=counts.device)
    of_rest = (counts % BLOCK * bits + WORD_BITS - 1) // WORD_BITS
    of_row = (counts // BLOCK * bits + of_rest).sum(1)
    enough = m.first_word.diff() == m.first_tile.diff().long() * LANES * of_row
    _require(bool(enough.all()), "words must be as many as the depths of a cluster need")


def _check_order(m: PackedMatrix) -> None:
    rows, cols = m.shape
    every = torch.arange(max(rows, cols), device=m.row.device, dtype=torch.int32)
    ordered = m.columns.sort(dim=1).values
    _require(bool((ordered == every[:cols]).all()), "columns of a cluster must be a permutation")
    lanes = m.row.flatten()
    members = lanes[lanes != -1].sort().values
    _require(torch.equal(members, every[:rows]), "row must hold every row once")


def _require(valid: bool, rule: str) -> None:
    if not valid:
        raise RadioError(
            f"packed matrix: {rule}; restore the file or state that it was loaded from"
        )
