"""Companding law: fine cells where a Laplace density is high, coarse cells in the tails.

A weight w is companded to u = 1/2 [1 + sgn(w - mu)(1 - exp(-sqrt2 |w - mu| / (3 S)))], the
normalised integral of the cube root of a Laplace density of location mu and standard deviation S
(paper). `codebook.companded` divides u into equal cells.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor

# scale parameter of the companding Laplace CDF, in units of the standard deviation
CDF_SCALE = 3 / math.sqrt(2)


def compand(w: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Map weights at location 0 and scale 1 to u in (0, 1)."""
    return 0.5 * (1 - torch.sign(w) * torch.expm1(-w.abs() / CDF_SCALE))


def expand(u: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Inverse of `compand`."""
    centred = 2 * u - 1
    return -torch.sign(centred) * CDF_SCALE * torch.log1p(-centred.abs())
