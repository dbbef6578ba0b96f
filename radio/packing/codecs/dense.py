"""Uncoded weights."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from jaxtyping import Float, Float16
from torch import Tensor


@dataclass(frozen=True)
class Dense:
    """Uncoded float16 weights."""

    name: ClassVar[str] = "dense"
    weight: Float16[Tensor, "rows cols"]

    @property
    def shape(self) -> tuple[int, int]:
        rows, cols = self.weight.shape
        return rows, cols

    def code_bits(self) -> int:
        return 16 * self.weight.numel()

    def decode(self) -> Float[Tensor, "rows cols"]:
        return self.weight.float()

    def fields(self) -> dict[str, Any]:
        return {}

    def to_tensors(self) -> dict[str, Tensor]:
        return {"weight": self.weight}

    def shared_tensors(self) -> dict[str, Tensor]:
        return {}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor], fields: Mapping[str, Any]) -> "Dense":
        return cls(tensors["weight"])
