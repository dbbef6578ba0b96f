"""The memory layout of a matrix of mixed bit depths for products with vectors.

Rows are sorted by cluster and divided into tiles of 16; empty lanes fill a cluster's last tile.
Columns of a cluster are sorted by depth, so that a run of columns has one level table; the vector
is gathered in this order, which costs one lookup per column. A run is divided into blocks of 32
columns. At any depth B, the codes of a block fill exactly B words of 32 bits per row: they are
packed without gaps, and a code may span two words. Only the last block of a run is padded to a
whole word, so at most 31 bits per row and depth are lost.

    words: cluster > depth > block of 32 columns > tile of 16 rows > word > row

A vector register holds one word of 16 rows, and a tile's words of a block are contiguous. The
vector's 32 entries and the depth's levels stay in registers for all tiles of the cluster.
"""

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import NamedTuple

import torch
from jaxtyping import Float, Float16, Int32, Int64, UInt8
from torch import Tensor

from radio.pack.bits import pack
from radio.pack.codecs import Companded
from radio.theory.allocation import MAX_BITS
from radio.theory.codebook import companded, split

LANES = 16
BLOCK = 32
WORD_BITS = 32


class Run(NamedTuple):
    """Columns of one depth in one cluster.

    Attributes:
        bits: depth of the columns.
        start: position of the first column in the cluster's order of columns.
        cols: number of columns.
    """

    bits: int
    start: int
    cols: int


# not frozen: layers create one for each product, and freezing would cost a microsecond
@dataclass(eq=False, slots=True)
class PackedMatrix:
    """A matrix [rows, cols], w = location + scale x level, in the order that kernels read.

    The constructor checks nothing; `radio.kernels.checks` and the compiled kernel do.

    Attributes:
        words: codes in the order that the module describes.
        first_word: index of each cluster's first word, and the total.
        first_tile: index of each cluster's first tile, and the total.
        counts: number of columns at depths 0..8 in each cluster.
        columns: columns of each cluster, sorted by depth.
        scale: scales of each cluster's columns, in this order.
        location: locations of each cluster's columns, in this order.
        row: matrix row of every lane; -1 for an empty lane.
        levels: levels of depths 1..8, concatenated; one tensor for all matrices of a model.
    """

    rows: int
    words: Int32[Tensor, " words"]
    first_word: Int64[Tensor, " _bounds"]
    first_tile: Int32[Tensor, " _bounds"]
    counts: Int32[Tensor, "clusters 9"]
    columns: Int32[Tensor, "clusters cols"]
    scale: Float16[Tensor, "clusters cols"]
    location: Float16[Tensor, "clusters cols"]
    row: Int32[Tensor, "tiles 16"]
    levels: Float[Tensor, " 510"]

    @property
    def shape(self) -> tuple[int, int]:
        """Rows (outputs) and columns (inputs)."""
        return self.rows, self.columns.shape[1]

    def tensors(self) -> tuple[Tensor, ...]:
        """Return all tensors, in the argument order of the compiled kernels."""
        return (
            self.words,
            self.first_word,
            self.first_tile,
            self.counts,
            self.columns,
            self.scale,
            self.location,
            self.row,
            self.levels,
        )

    def named_tensors(self) -> dict[str, Tensor]:
        """Return all tensors by name."""
        return dict(zip((field.name for field in fields(self)[1:]), self.tensors(), strict=True))

    def size_bytes(self) -> int:
        """Return the bytes that a product reads, without the levels, which all matrices share."""
        return sum(tensor.nbytes for tensor in self.tensors()[:-1])

    def to(self, device: torch.device | str) -> "PackedMatrix":
        """Return the matrix on a device."""
        return PackedMatrix(self.rows, *(tensor.to(device) for tensor in self.tensors()))

    def repeated(self, times: int) -> "PackedMatrix":
        """Return a matrix of the same rows repeated `times` times, in its own memory."""
        tiles = len(self.row)
        shift = self.rows * torch.arange(times).repeat_interleave(tiles)[:, None]
        row = self.row.repeat(times, 1)
        return PackedMatrix(
            rows=self.rows * times,
            words=self.words.repeat(times),
            first_word=_starts(self.first_word.diff().tolist() * times),
            first_tile=_starts(self.first_tile.diff().tolist() * times).int(),
            counts=self.counts.repeat(times, 1),
            columns=self.columns.repeat(times, 1),
            scale=self.scale.repeat(times, 1),
            location=self.location.repeat(times, 1),
            row=torch.where(row < 0, row, row + shift).int(),
            levels=self.levels,
        )

    def runs(self, cluster: int) -> list[Run]:
        """Return the nonempty runs of a cluster, without depth 0."""
        counts = self.counts[cluster].tolist()
        starts = [sum(counts[:bits]) for bits in range(MAX_BITS + 1)]
        return [Run(b, starts[b], counts[b]) for b in range(1, MAX_BITS + 1) if counts[b]]

    def codes(self, cluster: int) -> Iterator[tuple[Run, Int64[Tensor, "lanes _cols"]]]:
        """Yield the runs of a cluster and their unpacked codes."""
        tiles = int(self.first_tile[cluster + 1] - self.first_tile[cluster])
        at = int(self.first_word[cluster])
        for run in self.runs(cluster):
            blocks = []
            for left in range(run.cols, 0, -BLOCK):
                cols = min(left, BLOCK)
                deep = _words(cols, run.bits)
                words = self.words[at : at + tiles * deep * LANES].view(tiles, deep, LANES)
                blocks.append(_unpacked(words.transpose(1, 2).flatten(0, 1), run.bits, cols))
                at += tiles * deep * LANES
            yield run, torch.cat(blocks, dim=1)

    def decode_cluster(self, cluster: int) -> Float[Tensor, "cols lanes"]:
        """Return a cluster's weights, float32, transposed; those of empty lanes are undefined."""
        lanes = LANES * int(self.first_tile[cluster + 1] - self.first_tile[cluster])
        location, scale = self.location[cluster].float(), self.scale[cluster].float()
        weight = location[:, None].repeat(1, lanes)
        for run, codes in self.codes(cluster):
            place = slice(run.start, run.start + run.cols)
            levels = self.levels[2**run.bits - 2 : 2 ** (run.bits + 1) - 2]
            weight[place] += scale[place, None] * levels[codes.T]
        return torch.empty_like(weight).index_copy_(0, self.columns[cluster].long(), weight)

    def decode(self) -> Float[Tensor, "rows cols"]:
        """Return the weights, float32."""
        clusters = [self.decode_cluster(cluster) for cluster in range(len(self.counts))]
        weight, row = torch.cat(clusters, dim=1), self.row.flatten()
        there = row >= 0
        out = weight.new_empty(self.shape)
        return out.index_copy_(0, row[there].long(), weight.T[there])

    def lanes_of(self, cluster: int) -> Int32[Tensor, " lanes"]:
        """Return the matrix row of every lane of a cluster."""
        return self.row[self.first_tile[cluster] : self.first_tile[cluster + 1]].flatten()


def level_table(codebook: Float16[Tensor, " 510"] | None) -> Float[Tensor, " 510"]:
    """Return the levels of depths 1..8, concatenated: the companding law's, or a codebook's."""
    law = [companded(bits).levels for bits in range(MAX_BITS + 1)]
    return torch.cat((law if codebook is None else list(split(codebook)))[1:])


def packed_matrix(coded: Companded, levels: Float[Tensor, " 510"] | None = None) -> PackedMatrix:
    """Lay out a coded matrix for the kernels.

    Args:
        coded: matrix to lay out.
        levels: `level_table` of its codebook, to share it between matrices; computed if None.
    """
    rows, _ = coded.shape
    depths, columns = coded.depths.sort(dim=1, stable=True)
    clusters = range(len(depths))
    words, row = [], []
    for c in clusters:
        members = (coded.cluster == c).nonzero()[:, 0]
        lanes = torch.nn.functional.pad(members, (0, -len(members) % LANES), value=-1)
        row.append(lanes.view(-1, LANES))
        ordered = torch.nn.functional.pad(
            coded.codes[members][:, columns[c]], (0, 0, 0, len(lanes) - len(members))
        )
        words.append(_packed_cluster(ordered, depths[c]))
    counts = torch.stack([torch.bincount(depths[c], minlength=MAX_BITS + 1) for c in clusters])
    return PackedMatrix(
        rows=rows,
        words=torch.cat(words),
        first_word=_starts([len(each) for each in words]),
        first_tile=_starts([len(each) for each in row]).int(),
        counts=counts.int(),
        columns=columns.int(),
        scale=coded.scale.gather(1, columns),
        location=coded.location.gather(1, columns),
        row=torch.cat(row).int(),
        levels=level_table(coded.codebook) if levels is None else levels,
    )


def _packed_cluster(
    codes: UInt8[Tensor, "lanes cols"], depths: UInt8[Tensor, " cols"]
) -> Int32[Tensor, " words"]:
    """Return the words of a cluster whose columns are sorted by depth."""
    words = [torch.empty(0, dtype=torch.int32)]
    for bits in range(1, MAX_BITS + 1):
        for block in codes[:, depths == bits].split(BLOCK, dim=1):
            cols = block.shape[1]
            padded = torch.nn.functional.pad(block, (0, BLOCK - cols))
            packed = (
                pack(padded.flatten(), bits).contiguous().view(torch.int32).view(-1, LANES, bits)
            )
            words.append(packed[..., : _words(cols, bits)].transpose(1, 2).flatten())
    return torch.cat(words)


def _unpacked(
    words: Int32[Tensor, "lanes words"], bits: int, cols: int
) -> Int64[Tensor, "lanes cols"]:
    """Return the codes of a block from the words of each row."""
    wide = torch.nn.functional.pad(words.long() & 0xFFFFFFFF, (0, 1))
    place = bits * torch.arange(cols, device=words.device)
    word, shift = place // WORD_BITS, place % WORD_BITS
    return (wide[:, word] | wide[:, word + 1] << WORD_BITS) >> shift & (2**bits - 1)


def _words(cols: int, bits: int) -> int:
    """Return the number of 32-bit words of a row's codes in a block."""
    return -(-cols * bits // WORD_BITS)


def _starts(sizes: list[int]) -> Int64[Tensor, " _bounds"]:
    return torch.tensor([0, *sizes]).cumsum(0)
