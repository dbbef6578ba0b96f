"""Kept columns: affine codes for most input columns, uncoded weights for the others (OWQ)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from radio.pack.checks import FLOATS, check_shape, check_tensor
from radio.pack.codecs.affine import Affine, affine_bytes


@dataclass(frozen=True)
class KeptColumns:
    """A matrix with some uncoded columns.

    Attributes:
        coded: the coded columns, in matrix order.
        kept: weights of the uncoded columns, in float16 if it holds them.
        columns: indices of the uncoded columns; the matrix has at most 2^16 columns.
    """

    name: ClassVar[str] = "kept_columns"
    coded: Affine
    kept: Float[Tensor, "rows kept"]
    columns: Int[Tensor, " kept"]

    @property
    def shape(self) -> tuple[int, int]:
        rows, cols = self.coded.shape
        return rows, cols + len(self.columns)

    def code_bits(self) -> int:
        return self.coded.code_bits() + 8 * self.kept.nbytes

    def decode(self) -> Float[Tensor, "rows cols"]:
        weight = torch.empty(self.shape)
        weight[:, self.columns] = self.kept.float()
        weight[:, other_columns(self.columns, self.shape[1])] = self.coded.decode()
        return weight

    def fields(self) -> dict[str, Any]:
        return self.coded.fields()

    def to_tensors(self) -> dict[str, Tensor]:
        columns = self.columns.to(torch.uint16)
        return self.coded.to_tensors() | {"kept": self.kept, "columns": columns}

    def shared_tensors(self) -> dict[str, Tensor]:
        return {}

    @classmethod
    def check(
        cls, tensors: Mapping[str, Tensor], fields: Mapping[str, Any], shape: tuple[int, int]
    ) -> None:
        own = {key: tensor for key, tensor in tensors.items() if key not in ("kept", "columns")}
        for key in ("kept", "columns", "weight"):
            if key not in tensors:
                raise ValueError(f"{key} is missing from its tensors")
        (rows, cols), columns = shape, tensors["columns"]
        coded = check_shape("shape", fields.get("shape"))
        Affine.check(own, fields, coded)
        check_tensor("columns", columns, [torch.uint16], (cols - coded[1],))
        if coded[0] != rows:
            raise ValueError(f"shape={list(coded)} has other rows than the layer's {list(shape)}")
        wide = columns.long()
        if len(wide) and (int(wide.max()) >= cols or len(wide.unique()) < len(wide)):
            raise ValueError(f"columns has one twice, or one outside 0..{cols - 1}")
        check_tensor("kept", tensors["kept"], FLOATS, (rows, len(columns)))

    @classmethod
    def from_tensors(
        cls, tensors: Mapping[str, Tensor], fields: Mapping[str, Any]
    ) -> "KeptColumns":
        coded = Affine.from_tensors(tensors, fields)
        return cls(coded, tensors["kept"], tensors["columns"].long())


def other_columns(columns: Int[Tensor, " kept"], cols: int) -> Int[Tensor, " others"]:
    """Return the indices of all other columns of a matrix, in ascending order."""
    coded = torch.ones(cols, dtype=torch.bool)
    coded[columns] = False
    return coded.nonzero()[:, 0]


def kept_bytes(rows: int, cols: int, kept: int, bits: int, group_cols: int, symmetric: bool) -> int:
    """Return the stored bytes of a `KeptColumns` of this shape."""
    return affine_bytes(rows, cols - kept, bits, group_cols, symmetric) + kept * (2 * rows + 2)
