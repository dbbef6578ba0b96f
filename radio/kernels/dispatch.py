"""The entry point to the kernels: the product of a linear layer with a packed weight."""

import torch
from jaxtyping import Float
from torch import Tensor

from radio.kernels import cpu
from radio.kernels.checks import checked
from radio.kernels.layout import PackedMatrix
from radio.runtime.errors import RadioError

# up to this number of inputs, codes are looked up for each product; above it, weights are decoded
# first. Measured on one core at 4096 x 4096 and at SmolLM2-135M's shapes. Lookups sum in float32,
# and CPUs multiply bfloat16 twice as fast.
DIRECT_INPUTS = {torch.float32: 128, torch.float16: 128, torch.bfloat16: 24}
# not measured yet
DIRECT_INPUTS_GPU = 16


def packed_linear(
    inputs: Float[Tensor, "*batch cols"],
    matrix: PackedMatrix,
    bias: Float[Tensor, " rows"] | None = None,
) -> Float[Tensor, "*batch rows"]:
    """Return the products W x + b of all inputs, in the dtype of the inputs.

    Sums are in float32, or in float64 for float64 inputs. An input that is not finite gives outputs
    that are not finite. Not differentiable: packed weights are for inference.

    Args:
        inputs: inputs of a floating dtype, on the matrix's device.
        matrix: W [rows, cols].
        bias: b [rows], of any floating dtype, on the same device.

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
        from radio.kernels import gpu  # importing Triton takes a second and is for GPUs only

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
    """Return W x + b by decoding one cluster after another, in the dtype of the inputs.

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
