"""Error of a scalar quantizer on normal weights, integrated exactly over each cell."""

import math

import torch
from jaxtyping import Float
from torch import Tensor


def gaussian_mse(
    levels: Float[Tensor, " levels"], thresholds: Float[Tensor, " thresholds"]
) -> float:
    """Return the mean squared error on a normal density of mean 0 and variance 1.

    A cell (a, b) decoded as r contributes the integral of (w - r)^2 phi(w), which is
    (1 + r^2) [Phi(b) - Phi(a)] - [b phi(b) - a phi(a)] + 2 r [phi(b) - phi(a)].

    Args:
        levels: decoded value of each cell, in units of the standard deviation.
        thresholds: boundaries between the cells, one fewer than levels, in ascending order; the
            outer cells extend to infinity.

    Raises:
        ValueError: thresholds are not one fewer than levels, or not in ascending order.
    """
    if len(thresholds) != len(levels) - 1:
        raise ValueError(f"{len(thresholds)} thresholds do not separate {len(levels)} levels")
    if (thresholds.diff() < 0).any():
        raise ValueError("thresholds are not in rising order")
    edges = torch.nn.functional.pad(thresholds.double(), (1, 1), value=math.inf)
    edges[0] = -math.inf
    density = torch.exp(-edges.square() / 2) / math.sqrt(2 * math.pi)
    mass = torch.special.ndtr(edges).diff()
    moment = torch.where(density > 0, edges * density, 0).diff()  # inf x 0 at the ends
    level = levels.double()
    return float(((1 + level.square()) * mass - moment + 2 * level * density.diff()).sum())
