"""Kept columns: affine codes for most input columns, float16 weights for the others (OWQ)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Float, Float16, Int
from torch import Tensor

from radio.packing.codecs.affine import Affine, affine_bytes


@dataclass(frozen=True)
class KeptColumns:
    """A matrix of which some columns are uncoded.

    Attributes:
        coded: the other columns, in the order in which they stand in the matrix.
        kept: weights of the uncoded columns.
        columns: where these stand in the matrix, which has at most 2^16 columns.
    """

    name: ClassVar[str] = "kept_columns"
    coded: Affine
    kept: Float16[Tensor, "rows kept"]
    columns: Int[Tensor, " kept"]

    @property
    def shape(self) -> tuple[int, int]:
        rows, cols = self.coded.shape
        return rows, cols + len(self.columns)

    def code_bits(self) -> int:
        return self.coded.code_bits() + 16 * self.kept.numel()

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
    def from_tensors(
        cls, tensors: Mapping[str, Tensor], fields: Mapping[str, Any]
    ) -> "KeptColumns":
        coded = Affine.from_tensors(tensors, fields)
        return cls(coded, tensors["kept"], tensors["columns"].long())


def other_columns(columns: Int[Tensor, " kept"], cols: int) -> Int[Tensor, " others"]:
    """All columns of a matrix but these, in rising order."""
    coded = torch.ones(cols, dtype=torch.bool)
    coded[columns] = False
    return coded.nonzero()[:, 0]


def kept_bytes(rows: int, cols: int, kept: int, bits: int, group_cols: int, symmetric: bool) -> int:
    """Bytes that a `KeptColumns` of this shape stores."""
    return affine_bytes(rows, cols - kept, bits, group_cols, symmetric) + kept * (2 * rows + 2)
