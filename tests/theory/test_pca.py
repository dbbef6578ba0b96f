"""Principal axes: against a singular value decomposition, and what the author's choices change."""

import torch

from radio.theory.pca import author_axes, principal_axes

WIDTH = 6
# standard deviations well apart, so that axes are unique up to sign
SPREAD = torch.tensor([0.1, 3.0, 0.4, 9.0, 1.0, 0.02], dtype=torch.float64)
MEAN = torch.tensor([5.0, -2.0, 0.0, 1.0, 30.0, 0.0], dtype=torch.float64)


def sequences(count: int = 4, length: int = 500) -> torch.Tensor:
    """Outputs [count, length, width] with a mean that dwarfs most of the variation."""
    turn = torch.linalg.qr(torch.randn(WIDTH, WIDTH, dtype=torch.float64)).Q
    return torch.randn(count, length, WIDTH, dtype=torch.float64) * SPREAD @ turn + MEAN


def moments(z: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """E[z z'] and E[z] of each sequence, summed over sequences."""
    return (z.mT @ z / z.shape[1]).sum(dim=0), z.mean(dim=1).sum(dim=0)


def test_axes_are_the_right_singular_vectors_of_the_centred_outputs():
    z = sequences()
    second, mean = (total / len(z) for total in moments(z))
    axes = principal_axes(second, mean, WIDTH)
    flat = z.flatten(0, 1)
    wanted = torch.linalg.svd(flat - flat.mean(dim=0), full_matrices=False)[2]
    signs = torch.sign((axes * wanted).sum(dim=1, keepdim=True))
    torch.testing.assert_close(axes, signs * wanted, rtol=0, atol=1e-8)
    torch.testing.assert_close(axes @ axes.T, torch.eye(WIDTH, dtype=torch.float64))
    variances = ((flat - flat.mean(dim=0)) @ axes.T).square().mean(dim=0)
    assert (variances.diff() < 0).all()


def test_fewer_axes_are_the_first_ones_and_more_than_the_width_are_all():
    z = sequences()
    second, mean = (total / len(z) for total in moments(z))
    every = principal_axes(second, mean, 1024)
    assert every.shape == (WIDTH, WIDTH)
    assert torch.equal(principal_axes(second, mean, 2), every[:2])


def test_authors_axes_are_of_the_over_subtracted_covariance():
    """sum_s E_s[z z'] - (sum_s E_s[z])(...)' = N C - (N^2 - N) m m', an indefinite matrix."""
    z = sequences()
    count, (moment_sum, mean_sum) = len(z), moments(z)
    axes = author_axes(moment_sum, mean_sum, WIDTH)
    torch.testing.assert_close(axes @ axes.T, torch.eye(WIDTH, dtype=torch.float64))
    flat = z.flatten(0, 1)
    mean = flat.mean(dim=0)
    covariance = (flat - mean).T @ (flat - mean) / len(flat)
    matrix = count * covariance - (count**2 - count) * torch.outer(mean, mean)
    turned = axes @ matrix @ axes.T
    torch.testing.assert_close(turned, torch.diag(turned.diagonal()), rtol=0, atol=1e-6)
    # one axis has become the mean's own, with a negative "variance"
    lowest = turned.diagonal().argmin()
    assert turned.diagonal()[lowest] < 0
    assert abs(axes[lowest] @ mean) > 0.99 * mean.norm()


def test_authors_axes_agree_with_the_right_ones_for_a_single_sequence():
    """N = 1 subtracts rightly; only the order may differ."""
    moment, mean = moments(sequences(count=1))
    overlap = (author_axes(moment, mean, WIDTH) @ principal_axes(moment, mean, WIDTH).T).abs()
    torch.testing.assert_close(overlap.max(dim=1).values, torch.ones(WIDTH, dtype=torch.float64))
