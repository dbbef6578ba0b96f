"""Row clusters: sizes, order, invariance."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from radio.theory.grouping import cluster_mean, cluster_rows, cluster_sizes, locations_and_scales


@given(rows=st.integers(1, 300), group_rows=st.integers(1, 120), seed=st.integers(0, 99))
def test_cluster_sizes(rows, group_rows, seed):
    """Between g and 2g rows a cluster, sizes equal within one; fewer than 2g rows: one cluster."""
    generator = torch.Generator().manual_seed(seed)
    var, grad = torch.rand(rows, generator=generator), torch.rand(rows, generator=generator)
    cluster = cluster_rows(var, grad, group_rows)
    sizes = cluster_sizes(cluster, max(1, rows // group_rows))
    assert sizes.sum() == rows and sizes.max() - sizes.min() <= 1
    assert len(sizes) == 1 if rows < 2 * group_rows else sizes.min() >= group_rows


def test_clusters_are_sorted_by_sensitivity():
    var, grad = torch.rand(64), torch.rand(64)
    cluster, score = cluster_rows(var, grad, 16), var * grad
    for low in range(3):
        assert score[cluster == low].max() <= score[cluster == low + 1].min()


def test_rows_move_with_their_cluster():
    var, grad, order = torch.rand(50), torch.rand(50), torch.randperm(50)
    assert torch.equal(cluster_rows(var[order], grad[order], 9), cluster_rows(var, grad, 9)[order])


def test_dead_rows_sort_first():
    grad = torch.ones(8)
    grad[5] = 0
    assert cluster_rows(torch.rand(8) + 1, grad, 2)[5] == 0


def test_group_moments_equal_a_direct_computation():
    weight, cluster = torch.randn(30, 7), torch.arange(30) % 3
    location, scale = locations_and_scales(weight, cluster, 3)
    mean = cluster_mean(weight, cluster, 3)
    for c in range(3):
        for col in range(7):
            group = weight[cluster == c, col]
            assert location[c, col] == group.sort().values[4]  # lower median of ten
            assert scale[c, col].item() == pytest.approx(
                (group - location[c, col]).square().mean().sqrt().item(), rel=1e-5
            )
            assert mean[c, col].item() == pytest.approx(group.mean().item(), abs=1e-6)
