"""Uncoded weights."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from jaxtyping import Float
from torch import Tensor

from radio.pack.checks import FLOATS, check_names, check_tensor


@dataclass(frozen=True)
class Dense:
    """Uncoded weights, in float16 if it holds them (`radio.pack.floats`)."""

    name: ClassVar[str] = "dense"
    weight: Float[Tensor, "rows cols"]

    @property
    def shape(self) -> tuple[int, int]:
        rows, cols = self.weight.shape
        return rows, cols

    def code_bits(self) -> int:
        return 8 * self.weight.nbytes

    def decode(self) -> Float[Tensor, "rows cols"]:
        return self.weight.float()

    def fields(self) -> dict[str, Any]:
        return {}

    def to_tensors(self) -> dict[str, Tensor]:
        return {"weight": self.weight}

    def shared_tensors(self) -> dict[str, Tensor]:
        return {}

    @classmethod
    def check(
        cls, tensors: Mapping[str, Tensor], fields: Mapping[str, Any], shape: tuple[int, int]
    ) -> None:
        check_names("fields", fields, set(), set())
        check_names("tensors", tensors, {"weight"}, set())
        check_tensor("weight", tensors["weight"], FLOATS, shape)

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor], fields: Mapping[str, Any]) -> "Dense":
        return cls(tensors["weight"])
