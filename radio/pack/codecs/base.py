"""What every codec knows: its shape, its mean depth, its decoded weights, and its bytes."""

from collections.abc import Mapping
from typing import Any, ClassVar, Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor


@runtime_checkable
class Codec(Protocol):
    """A coded weight matrix [rows, cols]."""

    name: ClassVar[str]

    @property
    def shape(self) -> tuple[int, int]:
        """Rows (outputs) and columns (inputs)."""
        ...

    def code_bits(self) -> int:
        """Bits of the codes alone: the sum of all depths."""
        ...

    def decode(self) -> Float[Tensor, "rows cols"]:
        """The weights these codes stand for, float32."""
        ...

    def to_tensors(self) -> dict[str, Tensor]:
        """What decoding needs of this matrix, as tensors whose bytes are the stored bytes.

        Codes are called `weight`, as the weights that they take the place of: a program that does
        not know them finds a tensor of another shape there, and stops.
        """
        ...

    def shared_tensors(self) -> dict[str, Tensor]:
        """What decoding needs besides, and all matrices of a model have in common."""
        ...

    @classmethod
    def check(
        cls, tensors: Mapping[str, Tensor], fields: Mapping[str, Any], shape: tuple[int, int]
    ) -> None:
        """Check all that indexes or sizes something, before `from_tensors` relies on it.

        Codes are not decoded, so that the time is that of the side information.

        Args:
            tensors: those of `to_tensors` and of `shared_tensors`, as they were read.
            fields: those of `fields()`, as they were read.
            shape: rows and columns of the layer.

        Raises:
            ValueError: a tensor or a field that this codec does not write; the message begins with
                its name.
        """
        ...

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor], fields: Mapping[str, Any]) -> "Codec":
        """Inverse of `to_tensors` and `shared_tensors` joined; `fields` are those of `fields()`."""
        ...

    def fields(self) -> dict[str, Any]:
        """The few numbers that are not tensors (shape, uniform depth), for the file's header."""
        ...
