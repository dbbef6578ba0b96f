"""Companded codes: a depth, a location and a scale for each row cluster and input column."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import ceil, log2
from typing import Any, ClassVar

import torch
from jaxtyping import Float, Float16, Int, UInt8
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
from radio.theory.allocation import MAX_BITS
from radio.theory.codebook import companded, decode, nearest, split
from radio.theory.scale_codec import from_bytes, to_bytes

# the nine depths 0..8 do not fit in the paper's three bits
DEPTH_FIELD_BITS = 4
# a cluster index takes at most one byte
MAX_CLUSTERS = 256
# dtypes of locations and of scales, by scale_bits
LINES = {16: ([torch.float16], [torch.float16]), 8: ([torch.int8], [torch.uint8])}


@dataclass(frozen=True)
class Companded:
    """A depth, a location and a scale for each row cluster and input column (paper).

    w = 2^exponent (location + scale x level). Levels come from the companding law or from a
    `codebook` that all layers share. Codes are packed by depth, then cluster, then column.

    Attributes:
        codebook: levels of depths 1..8, concatenated; None for the companding law.
        scale_bits: stored bits per location and per scale, 16 or 8 (`radio.theory.scale_codec`).
        exponent: 0 unless float16 does not hold locations and scales (`radio.pack.floats`).
    """

    name: ClassVar[str] = "companded"
    codes: UInt8[Tensor, "rows cols"]
    cluster: Int[Tensor, " rows"]
    depths: UInt8[Tensor, "clusters cols"]
    location: Float16[Tensor, "clusters cols"]
    scale: Float16[Tensor, "clusters cols"]
    codebook: Float16[Tensor, " 510"] | None = None
    scale_bits: int = 16
    exponent: int = 0

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
        return scaled(weight, self.exponent)

    def fields(self) -> dict[str, Any]:
        lines = {} if self.scale_bits == 16 else {"scale_bits": self.scale_bits}
        exponent = {"exponent": self.exponent} if self.exponent else {}
        return {"shape": list(self.shape)} | lines | exponent

    def to_tensors(self) -> dict[str, Tensor]:
        location, scale = self.location, self.scale
        if self.scale_bits == 8:
            location, scale = to_bytes(location.float(), scale.float())
        tensors = {
            "depths": pack(self.depths.flatten(), DEPTH_FIELD_BITS),
            "location": location,
            "scale": scale,
        }
        if len(self.depths) > 1:
            tensors["cluster"] = pack(self.cluster, _index_bits(len(self.depths)))
        streams = []
        for bits in range(1, 9):
            parts = [self.codes[at].T.flatten() for at in self._at(bits)]
            streams.append(pack(torch.cat(parts), bits))
        return tensors | {"weight": torch.cat(streams)}

    def shared_tensors(self) -> dict[str, Tensor]:
        return {} if self.codebook is None else {"codebook": self.codebook}

    def _at(self, bits: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield rows [n, 1] and columns of one depth, cluster by cluster."""
        for cluster, depths in enumerate(self.depths):
            yield (self.cluster == cluster).nonzero(), (depths == bits).nonzero()[:, 0]

    @classmethod
    def check(
        cls, tensors: Mapping[str, Tensor], fields: Mapping[str, Any], shape: tuple[int, int]
    ) -> None:
        check_names("fields", fields, {"shape"}, {"scale_bits", "exponent"})
        required = {"weight", "depths", "location", "scale"}
        check_names("tensors", tensors, required, {"cluster", "codebook"})
        check_fields(fields, shape)
        rows, cols = shape
        scale_bits = check_integer("scale_bits", fields.get("scale_bits", 16), 8, 16)
        check_integer("exponent", fields.get("exponent", 0), *EXPONENTS)
        if scale_bits not in LINES:
            raise ValueError(f"scale_bits={scale_bits} is neither 16 nor 8")
        clusters = tensors["location"].shape[0] if tensors["location"].dim() == 2 else 1
        if not 1 <= clusters <= MAX_CLUSTERS:
            raise ValueError(f"location has {clusters} clusters of rows, not 1..{MAX_CLUSTERS}")
        for key, dtypes in zip(("location", "scale"), LINES[scale_bits], strict=True):
            check_tensor(key, tensors[key], dtypes, (clusters, cols))
        if "codebook" in tensors:
            check_tensor("codebook", tensors["codebook"], [torch.float16], (510,))
        sizes = _checked_sizes(tensors, rows, clusters)
        counts = (sizes[:, None] * _checked_depths(tensors, clusters, cols)).sum(dim=0).tolist()
        streams = (packed_bytes(count, bits) for bits, count in enumerate(counts) if bits)
        check_bytes("weight", tensors["weight"], sum(streams))

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor], fields: Mapping[str, Any]) -> "Companded":
        (rows, cols), scale_bits = fields["shape"], fields.get("scale_bits", 16)
        location, scale = tensors["location"], tensors["scale"]
        if scale_bits == 8:
            location, scale = from_bytes(location, scale)
        clusters = len(location)
        depths = unpack(tensors["depths"], DEPTH_FIELD_BITS, clusters * cols).view(clusters, cols)
        cluster = torch.zeros(rows, dtype=torch.int64)
        if clusters > 1:
            cluster = unpack(tensors["cluster"], _index_bits(clusters), rows).long()
        codes = torch.zeros(rows, cols, dtype=torch.uint8)
        codebook = tensors.get("codebook")
        exponent = fields.get("exponent", 0)
        coded = cls(codes, cluster, depths, location, scale, codebook, scale_bits, exponent)
        start = 0
        for bits in range(1, 9):
            places = list(coded._at(bits))
            counts = [len(members) * len(columns) for members, columns in places]
            size = packed_bytes(sum(counts), bits)
            stream = unpack(tensors["weight"][start : start + size], bits, sum(counts))
            for at, part in zip(places, stream.split(counts), strict=True):
                codes[at] = part.view(len(at[1]), len(at[0])).T
            start += size
        return coded


def _checked_sizes(tensors: Mapping[str, Tensor], rows: int, clusters: int) -> Int[Tensor, " c"]:
    """Return the number of rows in each cluster."""
    if clusters == 1:
        if "cluster" in tensors:
            raise ValueError("cluster is there, and the layer has one cluster of rows")
        return torch.tensor([rows])
    if "cluster" not in tensors:
        raise ValueError(f"cluster is missing, and the layer has {clusters} clusters of rows")
    bits = _index_bits(clusters)
    check_bytes("cluster", tensors["cluster"], packed_bytes(rows, bits))
    sizes = torch.bincount(unpack(tensors["cluster"], bits, rows).long(), minlength=clusters)
    if len(sizes) > clusters:
        raise ValueError(f"cluster has an index of {len(sizes) - 1}, and there are {clusters}")
    return sizes


def _checked_depths(
    tensors: Mapping[str, Tensor], clusters: int, cols: int
) -> Int[Tensor, "clusters 9"]:
    """Return the number of columns at each depth 0..8 in each cluster."""
    check_bytes("depths", tensors["depths"], packed_bytes(clusters * cols, DEPTH_FIELD_BITS))
    depths = unpack(tensors["depths"], DEPTH_FIELD_BITS, clusters * cols).view(clusters, cols)
    if depths.numel() and int(depths.max()) > MAX_BITS:
        raise ValueError(f"depths has a depth of {int(depths.max())}, above {MAX_BITS}")
    kinds = MAX_BITS + 1
    of_cluster = kinds * torch.arange(clusters)[:, None] + depths
    return torch.bincount(of_cluster.flatten(), minlength=kinds * clusters).view(clusters, kinds)


def _index_bits(clusters: int) -> int:
    return ceil(log2(clusters))
