"""The interface of all codecs: shape, bits of the codes, decoded weights, and stored tensors."""

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
        """Return the bits of the codes alone: the sum of all depths."""
        ...

    def decode(self) -> Float[Tensor, "rows cols"]:
        """Return the decoded weights, float32."""
        ...

    def to_tensors(self) -> dict[str, Tensor]:
        """Return the tensors that decoding needs; their bytes are the stored bytes.

        Codes are called `weight`, like the weights that they replace: a program that does not
        know the format finds a tensor of another shape there, and stops.
        """
        ...

    def shared_tensors(self) -> dict[str, Tensor]:
        """Return the tensors that decoding also needs and that all matrices of a model share."""
        ...

    @classmethod
    def check(
        cls, tensors: Mapping[str, Tensor], fields: Mapping[str, Any], shape: tuple[int, int]
    ) -> None:
        """Check all indices and sizes before `from_tensors` relies on them.

        Codes are not decoded, so the time depends on the side information only.

        Args:
            tensors: tensors of `to_tensors` and `shared_tensors`, as read from the file.
            fields: values of `fields()`, as read from the file.
            shape: rows and columns of the layer.

        Raises:
            ValueError: a tensor or a field is invalid; the message begins with its name.
        """
        ...

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor], fields: Mapping[str, Any]) -> "Codec":
        """Inverse of `to_tensors` joined with `shared_tensors`; `fields` are from `fields()`."""
        ...

    def fields(self) -> dict[str, Any]:
        """Return the values that are not tensors (shape, uniform depth), for the file's header."""
        ...
