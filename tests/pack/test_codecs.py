"""Codecs: decoded values, exact round trips through bytes, bytes by formula."""

from math import ceil, log2

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from radio.pack.codecs import (
    Affine,
    Companded,
    Dense,
    KeptColumns,
    QuantizedLinear,
    affine_bytes,
    kept_bytes,
)
from radio.runtime.tensors import load_tensors, save_tensors
from radio.theory.codebook import companded, join
from radio.theory.scale_codec import STORES


def random_levels(seed: int) -> list[torch.Tensor]:
    """Rising levels of depths 0..8, as they are stored."""
    generator = torch.Generator().manual_seed(seed)
    drawn = [torch.randn(2**bits, generator=generator).sort().values for bits in range(1, 9)]
    return [torch.zeros(1), *(levels.half().float() for levels in drawn)]


def random_companded(
    seed: int, rows: int, cols: int, clusters: int, learned: bool = False, scale_bits: int = 16
) -> Companded:
    """Valid random codes under a random depth map, depths 0 and 8 included."""
    generator = torch.Generator().manual_seed(seed)
    cluster = torch.arange(rows) % clusters
    cluster = cluster[torch.randperm(rows, generator=generator)]
    depths = torch.randint(0, 9, (clusters, cols), generator=generator)
    draw = torch.randint(0, 256, (rows, cols), generator=generator)
    lines = (
        torch.randn(clusters, cols, generator=generator),
        torch.rand(clusters, cols, generator=generator),
    )
    location, scale = STORES[scale_bits](*lines)
    return Companded(
        codes=(draw % 2 ** depths[cluster]).to(torch.uint8),
        cluster=cluster,
        depths=depths.to(torch.uint8),
        location=location.half(),
        scale=scale.half(),
        codebook=join(random_levels(seed)) if learned else None,
        scale_bits=scale_bits,
    )


shapes = {
    "seed": st.integers(0, 999),
    "rows": st.integers(1, 40),
    "cols": st.integers(1, 30),
    "clusters": st.integers(1, 5),
}


@given(**shapes, learned=st.booleans(), scale_bits=st.sampled_from([16, 8]))
def test_companded_round_trip_and_bytes(seed, rows, cols, clusters, learned, scale_bits):
    clusters = min(clusters, rows)
    coded = random_companded(seed, rows, cols, clusters, learned, scale_bits)
    tensors, shared = coded.to_tensors(), coded.shared_tensors()
    back = Companded.from_tensors(tensors | shared, coded.fields())
    assert sum(tensor.nbytes for tensor in shared.values()) == (2 * 510 if learned else 0)
    assert torch.equal(back.codes, coded.codes) and torch.equal(back.depths, coded.depths)
    assert torch.equal(back.cluster, coded.cluster)
    assert torch.equal(back.decode(), coded.decode()) and back.fields() == coded.fields()

    groups = clusters * cols
    sizes = torch.bincount(coded.cluster, minlength=clusters)[:, None].expand(clusters, cols)
    streams = [int(sizes[coded.depths == b].sum()) for b in range(1, 9)]
    expected = (
        sum(ceil(count / 8) * bits for bits, count in enumerate(streams, start=1))
        + ceil(groups / 8) * 4
        + groups * 2 * scale_bits // 8
        + ceil(rows / 8) * ceil(log2(clusters))
    )
    assert sum(tensor.nbytes for tensor in tensors.values()) == expected
    assert coded.code_bits() == sum(b * count for b, count in enumerate(streams, start=1))


@given(**shapes, learned=st.booleans())
def test_companded_decodes_weight_by_weight(seed, rows, cols, clusters, learned):
    coded = random_companded(seed, rows, cols, min(clusters, rows), learned)
    law = [companded(bits).levels for bits in range(9)]
    levels = random_levels(seed) if learned else law
    decoded = coded.decode()
    for row, col in {(0, 0), (rows - 1, cols - 1), (rows // 2, cols // 2)}:
        c = coded.cluster[row]
        level = levels[int(coded.depths[c, col])][int(coded.codes[row, col])]
        expected = coded.location[c, col].float() + coded.scale[c, col].float() * level
        assert decoded[row, col] == expected


SHAPES = [(3, 8, 4), (2, 10, 4), (5, 7, 7), (1, 1, 128), (3, 0, 1)]


def random_affine(rows: int, cols: int, group_cols: int, symmetric: bool) -> Affine:
    groups = ceil(cols / group_cols)
    return Affine(
        codes=torch.randint(0, 8, (rows, cols)).to(torch.uint8),
        scale=torch.rand(rows, groups).half(),
        zero=None if symmetric else torch.randint(0, 8, (rows, groups)).to(torch.uint8),
        bits=3,
        group_cols=group_cols,
    )


def nbytes(coded) -> int:
    return sum(tensor.nbytes for tensor in coded.to_tensors().values())


@pytest.mark.parametrize("symmetric", [False, True], ids=["", "symmetric"])
@pytest.mark.parametrize("rows, cols, group_cols", SHAPES)
def test_affine_round_trip_and_bytes(rows, cols, group_cols, symmetric):
    groups = ceil(cols / group_cols)
    coded = random_affine(rows, cols, group_cols, symmetric)
    back = Affine.from_tensors(coded.to_tensors(), coded.fields())
    assert torch.equal(back.decode(), coded.decode())
    zeros = 0 if symmetric else ceil(rows * groups / 8) * 3
    assert nbytes(coded) == ceil(rows * cols / 8) * 3 + zeros + rows * groups * 2
    assert affine_bytes(rows, cols, 3, group_cols, symmetric) == nbytes(coded)
    for col in range(cols):
        scale = coded.scale[:, col // group_cols].float()
        zero = 4.0 if coded.zero is None else coded.zero[:, col // group_cols].float()
        value = scale * (coded.codes[:, col].float() - zero)
        assert torch.equal(coded.decode()[:, col], value)


@pytest.mark.parametrize("columns", [[], [2], [9, 0, 4]])
@pytest.mark.parametrize("symmetric", [False, True], ids=["", "symmetric"])
@pytest.mark.parametrize("rows, cols, group_cols", SHAPES)
def test_kept_columns_round_trip_and_bytes(rows, cols, group_cols, symmetric, columns, tmp_path):
    """Through a file, with kept columns at the ends and in the middle, in no order."""
    columns = torch.tensor([c for c in columns if c <= cols], dtype=torch.int64)
    coded = random_affine(rows, cols, group_cols, symmetric)
    kept = KeptColumns(coded, torch.randn(rows, len(columns)).half(), columns)
    if not kept.shape[1] or (len(columns) and columns.max() >= kept.shape[1]):
        return
    save_tensors(tmp_path / "kept", kept.to_tensors(), kept.fields())
    back = KeptColumns.from_tensors(*load_tensors(tmp_path / "kept"))
    assert torch.equal(back.decode(), kept.decode()) and kept.shape == (rows, cols + len(columns))
    assert torch.equal(kept.decode()[:, columns], kept.kept.float())
    rest = [c for c in range(kept.shape[1]) if c not in columns.tolist()]
    assert torch.equal(kept.decode()[:, rest], coded.decode())
    assert nbytes(kept) == nbytes(coded) + len(columns) * (2 * rows + 2)
    shape = (*kept.shape, len(columns))
    assert kept_bytes(*shape, 3, group_cols, symmetric) == nbytes(kept)
    assert kept.code_bits() == 3 * rows * cols + 16 * rows * len(columns)


def test_an_added_bias_is_paid_for_and_an_old_one_is_not():
    layer = QuantizedLinear(Dense(torch.zeros(6, 4).half()))
    assert layer.stored_bytes() == 48
    assert layer.with_bias(torch.ones(6), added=True).stored_bytes() == 48 + 12
    assert layer.with_bias(torch.ones(6), added=False).stored_bytes() == 48
