"""Principal axes of the model's outputs: the directions whose gradients are worth measuring."""

import torch
from jaxtyping import Float
from torch import Tensor


def principal_axes(
    second_moment: Float[Tensor, "width width"], mean: Float[Tensor, " width"], axes: int
) -> Float[Tensor, "axes width"]:
    """Eigenvectors of the covariance E[z z'] - E[z] E[z]' by falling eigenvalue, one a row (paper).

    Args:
        second_moment: E[z z'] of the outputs z, in float64: the subtraction cancels where the mean
            is large.
        mean: E[z].
        axes: axes wanted; `width` of them where that is fewer.
    """
    covariance = second_moment - torch.outer(mean, mean)
    return torch.linalg.eigh(covariance).eigenvectors.flip(1).T[:axes].contiguous()


def author_axes(
    moment_sum: Float[Tensor, "width width"], mean_sum: Float[Tensor, " width"], axes: int
) -> Float[Tensor, "axes width"]:
    """Axes as the author's code has them: off centre, and in whatever order `eig` gives.

    Moments and means of N sequences are summed, not averaged, so that N^2 instead of N times the
    squared mean is subtracted and the mean's direction gets a large negative eigenvalue. The axes
    are orthonormal nevertheless, and complete where `axes` reaches the width; only then are
    all outputs accounted for.

    Args:
        moment_sum: sum over sequences of each sequence's E[z z'].
        mean_sum: sum over sequences of each sequence's E[z].
        axes: axes wanted; `width` of them where that is fewer.
    """
    eigenvectors = torch.linalg.eig(moment_sum - torch.outer(mean_sum, mean_sum)).eigenvectors
    return eigenvectors.real.T[:axes].contiguous()
