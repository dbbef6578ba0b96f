"""Affine codes: one depth, and a scale and an integer zero point for each run of inputs."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Float, Float16, UInt8
from torch import Tensor

from radio.pack.bits import pack, packed_bytes, unpack
from radio.pack.checks import (
    check_bytes,
    check_fields,
    check_integer,
    check_names,
    check_tensor,
)
from radio.pack.floats import EXPONENTS, scaled


@dataclass(frozen=True)
class Affine:
    """One depth; a scale and an integer zero point for each row and each run of inputs.

    w = 2^exponent scale (code - zero), the codec of RTN and GPTQ. A row's inputs are divided into
    runs of `group_cols`; the last one may be shorter.

    Attributes:
        zero: zero points; None if all are 2^(bits - 1).
        exponent: 0 unless float16 does not hold the scales (`radio.pack.floats`).
    """

    name: ClassVar[str] = "affine"
    codes: UInt8[Tensor, "rows cols"]
    scale: Float16[Tensor, "rows groups"]
    zero: UInt8[Tensor, "rows groups"] | None
    bits: int
    group_cols: int
    exponent: int = 0

    @property
    def shape(self) -> tuple[int, int]:
        rows, cols = self.codes.shape
        return rows, cols

    def code_bits(self) -> int:
        return self.bits * self.codes.numel()

    def decode(self) -> Float[Tensor, "rows cols"]:
        group = torch.arange(self.codes.shape[1]) // self.group_cols
        middle = 2 ** (self.bits - 1)
        zero = middle if self.zero is None else self.zero.float()[:, group]
        return scaled((self.codes.float() - zero) * self.scale.float()[:, group], self.exponent)

    def fields(self) -> dict[str, Any]:
        exponent = {"exponent": self.exponent} if self.exponent else {}
        fields = {"shape": list(self.shape), "bits": self.bits, "group_cols": self.group_cols}
        return fields | exponent

    def to_tensors(self) -> dict[str, Tensor]:
        tensors = {"weight": pack(self.codes.flatten(), self.bits)}
        if self.zero is not None:
            tensors["zero"] = pack(self.zero.flatten(), self.bits)
        return tensors | {"scale": self.scale}

    def shared_tensors(self) -> dict[str, Tensor]:
        return {}

    @classmethod
    def check(
        cls, tensors: Mapping[str, Tensor], fields: Mapping[str, Any], shape: tuple[int, int]
    ) -> None:
        check_names("fields", fields, {"shape", "bits", "group_cols"}, {"exponent"})
        check_names("tensors", tensors, {"weight", "scale"}, {"zero"})
        check_fields(fields, shape)
        bits = check_integer("bits", fields["bits"], 1, 8)
        group_cols = check_integer("group_cols", fields["group_cols"], 1, 2**31 - 1)
        check_integer("exponent", fields.get("exponent", 0), *EXPONENTS)
        rows, cols = shape
        groups = -(-cols // group_cols)
        check_bytes("weight", tensors["weight"], packed_bytes(rows * cols, bits))
        check_tensor("scale", tensors["scale"], [torch.float16], (rows, groups))
        if "zero" in tensors:
            check_bytes("zero", tensors["zero"], packed_bytes(rows * groups, bits))

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor], fields: Mapping[str, Any]) -> "Affine":
        (rows, cols), bits, scale = fields["shape"], fields["bits"], tensors["scale"]
        packed = tensors.get("zero")
        zero = None if packed is None else unpack(packed, bits, scale.numel()).view(scale.shape)
        return cls(
            codes=unpack(tensors["weight"], bits, rows * cols).view(rows, cols),
            scale=scale,
            zero=zero,
            bits=bits,
            group_cols=fields["group_cols"],
            exponent=fields.get("exponent", 0),
        )


def affine_bytes(rows: int, cols: int, bits: int, group_cols: int, symmetric: bool) -> int:
    """Return the stored bytes of an `Affine` of this shape."""
    groups = rows * -(-cols // group_cols)
    zeros = 0 if symmetric else packed_bytes(groups, bits)
    return packed_bytes(rows * cols, bits) + zeros + 2 * groups
