"""The one door to the kernels: a linear layer whose weight is a packed matrix."""

import torch
from jaxtyping import Float
from torch import Tensor

from radio.kernels import cpu
from radio.kernels.checks import checked
from radio.kernels.layout import PackedMatrix
from radio.runtime.errors import RadioError

# inputs up to which codes are looked up for each product, beyond which weights are decoded first:
# one core at 4096 x 4096 and at SmolLM2-135M's shapes. Lookups sum in float32, and processors
# multiply bfloat16 at twice the speed.
DIRECT_INPUTS = {torch.float32: 128, torch.float16: 128, torch.bfloat16: 24}
# not measured yet
DIRECT_INPUTS_GPU = 16


def packed_linear(
    inputs: Float[Tensor, "*batch cols"],
    matrix: PackedMatrix,
    bias: Float[Tensor, " rows"] | None = None,
) -> Float[Tensor, "*batch rows"]:
    """Return the products W x + b of all inputs, in the type of the inputs.

    Sums are of float32, or of float64 where the inputs are. An input that is not finite gives
    outputs that are not finite. Not differentiable: packed weights are for inference.

    Args:
        inputs: of a floating type, on the matrix' device.
        matrix: W [rows, cols].
        bias: b [rows], of any floating type, on that device.

    Raises:
        RadioError: shapes, types or devices do not fit, or the matrix is damaged.
    """
    if inputs.is_cpu and inputs.dtype in DIRECT_INPUTS and (kernel := cpu.kernel()) is not None:
        direct = inputs.numel() <= DIRECT_INPUTS[inputs.dtype] * matrix.shape[1]
        product = kernel.product if direct else kernel.product_of_decoded
        result: Tensor = product(inputs, bias, matrix.rows, matrix.tensors())
        return result
    _check_fit(inputs, matrix, bias)
    vectors = inputs.reshape(-1, matrix.shape[1])
    if inputs.is_cuda and inputs.dtype in DIRECT_INPUTS and len(vectors) <= DIRECT_INPUTS_GPU:
        from radio.kernels import gpu  # Triton costs a second, and is for GPUs alone

        outputs = gpu.product(vectors.detach(), matrix, bias)
    else:
        outputs = product_of_decoded(vectors, matrix, bias)
    return outputs.view(*inputs.shape[:-1], matrix.rows)


def _check_fit(inputs: Tensor, matrix: PackedMatrix, bias: Tensor | None) -> None:
    rows, cols = matrix.shape
    device = matrix.words.device
    if inputs.shape[-1:] != (cols,) or not inputs.is_floating_point() or inputs.device != device:
        raise RadioError(
            f"inputs are {list(inputs.shape)} of {inputs.dtype} on {inputs.device}: a packed "
            f"matrix of {cols} columns on {device} takes [..., {cols}] of a floating type there"
        )
    if bias is not None and (bias.shape != (rows,) or bias.device != device):
        raise RadioError(
            f"bias is {list(bias.shape)} on {bias.device}: a packed matrix of {rows} rows on "
            f"{device} takes [{rows}] there"
        )


@torch.no_grad()
def product_of_decoded(
    inputs: Float[Tensor, "vectors cols"],
    matrix: PackedMatrix,
    bias: Float[Tensor, " rows"] | None,
) -> Float[Tensor, "vectors rows"]:
    """Return W x + b by decoding one cluster after another, in the type of the inputs.

    Raises:
        RadioError: the matrix is damaged.
    """
    checked(matrix)
    outputs = inputs.new_empty(len(inputs), matrix.rows)
    for cluster in range(len(matrix.counts)):
        lanes = matrix.lanes_of(cluster)
        weight = matrix.decode_cluster(cluster).to(inputs.dtype)
        outputs[:, lanes[lanes >= 0].long()] = (inputs @ weight)[:, lanes >= 0]
    return outputs if bias is None else outputs + bias.to(outputs)
