"""Random coded matrices, and the error that a sum in float32 may have."""

import torch

from radio.kernels import reference
from radio.pack.codecs import Companded
from radio.theory.codebook import join

# rounding to a type: half a unit in the last place of its significand
HALF_ULP = {torch.float32: 2.0**-24, torch.float16: 2.0**-11, torch.bfloat16: 2.0**-8}


def coded(
    rows: int,
    cols: int,
    clusters: int = 1,
    seed: int = 0,
    depths: tuple[int, ...] = tuple(range(9)),
    learned: bool = False,
) -> Companded:
    """Valid random codes of depths drawn from `depths`; rows of a cluster lie scattered."""
    generator = torch.Generator().manual_seed(seed)
    cluster = torch.randint(0, clusters, (rows,), generator=generator)
    drawn = torch.randint(0, len(depths), (clusters, cols), generator=generator)
    bits = torch.tensor(depths)[drawn]
    codes = torch.randint(0, 256, (rows, cols), generator=generator) % 2 ** bits[cluster]
    levels = [torch.randn(2**b, generator=generator).sort().values for b in range(9)]
    return Companded(
        codes=codes.to(torch.uint8),
        cluster=cluster,
        depths=bits.to(torch.uint8),
        location=torch.randn(clusters, cols, generator=generator).half(),
        scale=torch.rand(clusters, cols, generator=generator).half(),
        codebook=join(levels) if learned else None,
    )


def allowed_error(
    matrix: Companded, inputs: torch.Tensor, bias: torch.Tensor | None, dtype: torch.dtype
) -> torch.Tensor:
    """Largest error of each output: float32 sums, then one rounding to `dtype`.

    A sum of n terms in float32, of three roundings each, is off by (n + 3) half units of the sum of
    their magnitudes at most. Location and scaled level are summed apart.
    """
    terms = 2 * matrix.shape[1] + 4
    apart = (
        matrix.location.double().abs()[matrix.cluster]
        + (reference.weights(matrix) - matrix.location.double()[matrix.cluster]).abs()
    )
    magnitude = inputs.double().abs() @ apart.T
    outputs = reference.product(matrix, inputs, bias).abs()
    if bias is not None:
        magnitude = magnitude + bias.double().abs()
    tiny = torch.finfo(dtype).smallest_normal
    return terms * HALF_ULP[torch.float32] * magnitude + 1.01 * HALF_ULP[dtype] * outputs + tiny
