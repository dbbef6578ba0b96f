"""The layout: exact round trips, bytes by formula, a reference that is the codec's own."""

from math import ceil

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from radio.kernels import reference
from radio.kernels.layout import PackedMatrix, level_table, packed_matrix
from radio.pack.codecs import Companded
from tests.kernels.coded import coded

SHAPES = {
    "rows": st.integers(1, 70),
    "cols": st.integers(1, 90),
    "clusters": st.integers(1, 4),
    "seed": st.integers(0, 999),
    "learned": st.booleans(),
}


def decoded(packed: PackedMatrix) -> torch.Tensor:
    weight = torch.full(packed.shape, torch.nan)
    for cluster in range(len(packed.counts)):
        lanes = packed.lanes_of(cluster)
        weight[lanes[lanes >= 0].long()] = packed.decode_cluster(cluster).T[lanes >= 0]
    return weight


@given(**SHAPES)
def test_weights_survive(rows, cols, clusters, seed, learned):
    matrix = coded(rows, cols, clusters, seed, learned=learned)
    assert torch.equal(decoded(packed_matrix(matrix)), matrix.decode())


@given(**SHAPES)
def test_codes_survive(rows, cols, clusters, seed, learned):
    matrix = coded(rows, cols, clusters, seed, learned=learned)
    packed = packed_matrix(matrix)
    for cluster in range(clusters):
        lanes = packed.lanes_of(cluster)
        for run, codes in packed.codes(cluster):
            columns = packed.columns[cluster, run.start : run.start + run.cols].long()
            assert bool((matrix.depths[cluster, columns] == run.bits).all())
            there = matrix.codes[lanes[lanes >= 0].long()][:, columns]
            assert torch.equal(codes[lanes >= 0], there.long())
            assert not codes[lanes < 0].any()


@given(**SHAPES)
def test_bytes_by_formula(rows, cols, clusters, seed, learned):
    matrix = coded(rows, cols, clusters, seed, learned=learned)
    packed = packed_matrix(matrix)
    words, lanes = 0, 0
    for cluster in range(clusters):
        tiles = ceil(int((matrix.cluster == cluster).sum()) / 16)
        counts = torch.bincount(matrix.depths[cluster], minlength=9).tolist()
        words += 16 * tiles * sum(ceil(bits * count / 32) for bits, count in enumerate(counts))
        lanes += 16 * tiles
    columns = clusters * cols * (4 + 2 + 2)  # place, scale, location
    bounds = (clusters + 1) * (8 + 4) + clusters * 9 * 4
    assert packed.size_bytes() == 4 * words + 4 * lanes + columns + bounds


@given(**SHAPES)
def test_reference_is_what_the_codec_decodes(rows, cols, clusters, seed, learned):
    matrix = coded(rows, cols, clusters, seed, learned=learned)
    torch.testing.assert_close(
        reference.weights(matrix).float(), matrix.decode(), rtol=1e-6, atol=1e-6
    )


def test_matrices_may_share_levels():
    matrix = coded(8, 8)
    levels = level_table(None)
    assert packed_matrix(matrix, levels).levels is levels
    assert torch.equal(packed_matrix(matrix).levels, levels)


@pytest.mark.parametrize("depth", range(9))
def test_little_is_lost_to_padding(depth):
    """A run of one depth wastes less than a word a row."""
    matrix: Companded = coded(64, 100, depths=(depth,))
    words = len(packed_matrix(matrix).words)
    assert 0 <= 32 * words - 64 * 100 * depth < 64 * 32


def test_weights_and_repeated_rows():
    matrix = coded(25, 70, 2)
    packed = packed_matrix(matrix)
    torch.testing.assert_close(packed.decode().double(), reference.weights(matrix))
    assert torch.equal(packed.repeated(3).decode(), packed.decode().repeat(3, 1))
    assert packed.repeated(1).words.data_ptr() != packed.words.data_ptr()
