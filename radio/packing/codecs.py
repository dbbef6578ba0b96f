"""What codes mean: a codec holds a matrix's codes and side information, and decodes them.

Every codec knows its shape, its mean depth, its decoded weights, and its bytes. A method of
quantization picks a codec; nothing that reads a codec knows the method.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import ceil, log2
from typing import Any, ClassVar, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Float16, Int, UInt8
from torch import Tensor

from radio.packing.bits import pack, packed_bytes, unpack
from radio.theory.codebook import companded, decode, nearest, split

# nine depths, 0..8, do not fit in the paper's three bits
DEPTH_FIELD_BITS = 4


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
        """What decoding needs of this matrix, as tensors whose bytes are the stored bytes."""
        ...

    def shared_tensors(self) -> dict[str, Tensor]:
        """What decoding needs besides, and all matrices of a model have in common."""
        ...

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor], fields: Mapping[str, Any]) -> "Codec":
        """Inverse of `to_tensors` and `shared_tensors` joined; `fields` are those of `fields()`."""
        ...

    def fields(self) -> dict[str, Any]:
        """The few numbers that are not tensors (shape, uniform depth), for the file's header."""
        ...


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


@dataclass(frozen=True)
class Affine:
    """One depth; a scale and an integer zero point for each row and each run of inputs.

    w = scale (code - zero), the codec of RTN and GPTQ. A row's inputs are cut into runs of
    `group_cols`, of which the last may be shorter.
    """

    name: ClassVar[str] = "affine"
    codes: UInt8[Tensor, "rows cols"]
    scale: Float16[Tensor, "rows groups"]
    zero: UInt8[Tensor, "rows groups"]
    bits: int
    group_cols: int

    @property
    def shape(self) -> tuple[int, int]:
        rows, cols = self.codes.shape
        return rows, cols

    def code_bits(self) -> int:
        return self.bits * self.codes.numel()

    def decode(self) -> Float[Tensor, "rows cols"]:
        group = torch.arange(self.codes.shape[1]) // self.group_cols
        return (self.codes.float() - self.zero.float()[:, group]) * self.scale.float()[:, group]

    def fields(self) -> dict[str, Any]:
        return {"shape": list(self.shape), "bits": self.bits, "group_cols": self.group_cols}

    def to_tensors(self) -> dict[str, Tensor]:
        return {
            "codes": pack(self.codes.flatten(), self.bits),
            "zero": pack(self.zero.flatten(), self.bits),
            "scale": self.scale,
        }

    def shared_tensors(self) -> dict[str, Tensor]:
        return {}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor], fields: Mapping[str, Any]) -> "Affine":
        (rows, cols), bits, scale = fields["shape"], fields["bits"], tensors["scale"]
        return cls(
            codes=unpack(tensors["codes"], bits, rows * cols).view(rows, cols),
            scale=scale,
            zero=unpack(tensors["zero"], bits, scale.numel()).view(scale.shape),
            bits=bits,
            group_cols=fields["group_cols"],
        )


@dataclass(frozen=True)
class Companded:
    """A depth, a location and a scale for each row cluster and input column (paper).

    w = location + scale x level; levels are those of the companding law, or of a `codebook` that
    all layers share. Codes of equal depth are packed together, depth by depth, cluster by cluster,
    column by column.

    Attributes:
        codebook: levels of depths 1..8, one after the other; None for the companding law.
    """

    name: ClassVar[str] = "companded"
    codes: UInt8[Tensor, "rows cols"]
    cluster: Int[Tensor, " rows"]
    depths: UInt8[Tensor, "clusters cols"]
    location: Float16[Tensor, "clusters cols"]
    scale: Float16[Tensor, "clusters cols"]
    codebook: Float16[Tensor, " 510"] | None = None

    @property
    def shape(self) -> tuple[int, int]:
        rows, cols = self.codes.shape
        return rows, cols

    def code_bits(self) -> int:
        sizes = torch.bincount(self.cluster, minlength=len(self.depths))
        return int((sizes[:, None] * self.depths.long()).sum())

    def decode(self) -> Float[Tensor, "rows cols"]:
        weight = torch.empty(self.shape)
        levels = None if self.codebook is None else split(self.codebook)
        for cluster, depths in enumerate(self.depths):
            rows = self.cluster == cluster
            location, scale = self.location[cluster].float(), self.scale[cluster].float()
            for bits in depths.unique().tolist():
                cols = depths == bits
                index = rows.nonzero(), cols.nonzero()[:, 0]
                codes = self.codes[index].long().T
                book = companded(bits) if levels is None else nearest(levels[bits])
                weight[index] = decode(codes, location[cols], scale[cols], book).T
        return weight

    def fields(self) -> dict[str, Any]:
        return {"shape": list(self.shape)}

    def to_tensors(self) -> dict[str, Tensor]:
        tensors = {
            "depths": pack(self.depths.flatten(), DEPTH_FIELD_BITS),
            "location": self.location,
            "scale": self.scale,
        }
        if len(self.depths) > 1:
            tensors["cluster"] = pack(self.cluster, _index_bits(len(self.depths)))
        streams = [pack(self.codes[self._at(bits)], bits) for bits in range(1, 9)]
        return tensors | {"codes": torch.cat(streams)}

    def shared_tensors(self) -> dict[str, Tensor]:
        return {} if self.codebook is None else {"codebook": self.codebook}

    def _at(self, bits: int) -> tuple[Tensor, Tensor]:
        """Rows and columns of the codes of one depth, in the order in which they are stored."""
        rows, cols = [], []
        for cluster, depths in enumerate(self.depths):
            members = (self.cluster == cluster).nonzero()[:, 0]
            columns = (depths == bits).nonzero()[:, 0]
            rows.append(members.repeat(len(columns)))
            cols.append(columns.repeat_interleave(len(members)))
        return torch.cat(rows), torch.cat(cols)

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor], fields: Mapping[str, Any]) -> "Companded":
        (rows, cols), location = fields["shape"], tensors["location"]
        clusters = len(location)
        depths = unpack(tensors["depths"], DEPTH_FIELD_BITS, clusters * cols).view(clusters, cols)
        cluster = torch.zeros(rows, dtype=torch.int64)
        if clusters > 1:
            cluster = unpack(tensors["cluster"], _index_bits(clusters), rows).long()
        codes = torch.zeros(rows, cols, dtype=torch.uint8)
        codebook = tensors.get("codebook")
        coded = cls(codes, cluster, depths, location, tensors["scale"], codebook)
        start = 0
        for bits in range(1, 9):
            index = coded._at(bits)
            size = packed_bytes(len(index[0]), bits)
            codes[index] = unpack(tensors["codes"][start : start + size], bits, len(index[0]))
            start += size
        return coded


def _index_bits(clusters: int) -> int:
    return ceil(log2(clusters))


CODECS: dict[str, type[Codec]] = {codec.name: codec for codec in (Dense, Affine, Companded)}


@dataclass(frozen=True)
class QuantizedLinear:
    """A linear layer after quantization: coded weights and the bias that goes with them.

    `bias_added` is true where the original layer had no bias, so that the bias is part of the
    price of quantization.
    """

    weight: Codec
    bias: Float16[Tensor, " rows"] | None = None
    bias_added: bool = False

    def stored_bytes(self) -> int:
        """Bytes of codes, side information and an added bias, without what layers share."""
        tensors = list(self.weight.to_tensors().values())
        if self.bias is not None and self.bias_added:
            tensors.append(self.bias)
        return sum(tensor.nbytes for tensor in tensors)

    def with_bias(self, bias: Float[Tensor, " rows"], added: bool) -> "QuantizedLinear":
        """The same weights under another bias, stored in float16."""
        return replace(self, bias=bias.half(), bias_added=added)
