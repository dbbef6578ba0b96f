"""Weight groups, which share a depth, a scale and a location: row clusters x single columns."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from radio.theory.order import in_order


def cluster_count(rows: int, group_rows: int) -> int:
    """Return the number of row clusters; 1 if there are fewer than 2 `group_rows` rows."""
    return max(1, rows // group_rows)


def cluster_rows(
    row_weight_var: Float[Tensor, " rows"],
    row_grad_var: Float[Tensor, " rows"],
    group_rows: int,
) -> Int[Tensor, " rows"]:
    """Return the cluster index of each output row, 0 for the least sensitive rows.

    Rows are sorted by log var(row) + log mean squared gradient(row) and split into
    floor(rows / group_rows) clusters whose sizes differ by at most one; a matrix with fewer than
    2 `group_rows` rows has one cluster (paper, section "Grouping").

    Args:
        row_weight_var: variance of each row's weights.
        row_grad_var: mean squared gradient of each row's weights.
        group_rows: target number of rows per cluster, g >= 1.
    """
    rows = len(row_weight_var)
    clusters = cluster_count(rows, group_rows)
    # sorting the product gives the same order, and rows with a zero sort first, without NaN
    order = torch.argsort(row_weight_var.double() * row_grad_var.double(), stable=True)
    cluster = torch.empty_like(order)
    for index, members in enumerate(torch.tensor_split(order, clusters)):
        cluster[members] = index
    return cluster


def cluster_mean(
    values: Float[Tensor, "rows cols"], cluster: Int[Tensor, " rows"], clusters: int
) -> Float[Tensor, "clusters cols"]:
    """Return the mean of `values` over the rows of each cluster, for each column."""
    sums = values.new_zeros(clusters, values.shape[1]).index_add_(0, cluster, values)
    return sums / cluster_sizes(cluster, clusters)[:, None].to(values.dtype)


def cluster_sizes(cluster: Int[Tensor, " rows"], clusters: int) -> Int[Tensor, " clusters"]:
    """Return the number of rows in each cluster."""
    return torch.bincount(cluster, minlength=clusters)


def locations_and_scales(
    weight: Float[Tensor, "rows cols"], cluster: Int[Tensor, " rows"], clusters: int
) -> tuple[Float[Tensor, "clusters cols"], Float[Tensor, "clusters cols"]]:
    """Return each group's median and root mean square about it (author's code)."""
    groups = (in_order(weight[cluster == c].T) for c in range(clusters))
    # for an even number, the lower of the two middle values
    locations = torch.stack([ordered[:, (ordered.shape[1] - 1) // 2] for ordered in groups])
    squares = cluster_mean((weight - locations[cluster]).square(), cluster, clusters)
    return locations, squares.sqrt()


def means_and_deviations(
    weight: Float[Tensor, "rows cols"], cluster: Int[Tensor, " rows"], clusters: int
) -> tuple[Float[Tensor, "clusters cols"], Float[Tensor, "clusters cols"]]:
    """Return the mean and standard deviation of every group (paper)."""
    means = cluster_mean(weight, cluster, clusters)
    return means, cluster_mean((weight - means[cluster]).square(), cluster, clusters).sqrt()
