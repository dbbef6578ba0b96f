"""Principal axes of the model's outputs: the directions whose gradients are measured."""

import torch
from jaxtyping import Float
from torch import Tensor


def principal_axes(
    second_moment: Float[Tensor, "width width"], mean: Float[Tensor, " width"], axes: int
) -> Float[Tensor, "axes width"]:
    """Return eigenvectors of E[z z'] - E[z] E[z]' as rows, by descending eigenvalue (paper).

    Args:
        second_moment: E[z z'] of the outputs z, in float64, since the subtraction cancels if the
            mean is large.
        mean: E[z].
        axes: number of axes, at most `width`.
    """
    covariance = second_moment - torch.outer(mean, mean)
    return torch.linalg.eigh(covariance).eigenvectors.flip(1).T[:axes].contiguous()


def author_axes(
    moment_sum: Float[Tensor, "width width"], mean_sum: Float[Tensor, " width"], axes: int
) -> Float[Tensor, "axes width"]:
    """Return the axes of the author's code: not centred, in the order that `eig` returns.

    Moments and means of N sequences are summed, not averaged, so N^2 times the squared mean is
    subtracted instead of N times, and the mean's direction gets a large negative eigenvalue. The
    axes are still orthonormal; they cover all outputs only if `axes` equals the width.

    Args:
        moment_sum: sum over sequences of each sequence's E[z z'].
        mean_sum: sum over sequences of each sequence's E[z].
        axes: number of axes, at most `width`.
    """
    eigenvectors = torch.linalg.eig(moment_sum - torch.outer(mean_sum, mean_sum)).eigenvectors
    return eigenvectors.real.T[:axes].contiguous()
