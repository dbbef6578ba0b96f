"""The one door to the kernels: a linear layer whose weight is a packed matrix."""

import torch
from jaxtyping import Float
from torch import Tensor

from radio.kernels import cpu
from radio.kernels.layout import PackedMatrix

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
    """The products W x + b of all inputs, in the type of the inputs; sums are of float32.

    Not differentiable: packed weights are for inference.

    Args:
        inputs: float32, bfloat16 or float16, on the matrix' device.
        matrix: W [rows, cols].
        bias: b, of any of these types.
    """
    rows, cols = matrix.shape
    outputs = _product(inputs.reshape(-1, cols), matrix, bias)
    return outputs.view(*inputs.shape[:-1], rows)


def _product(
    inputs: Float[Tensor, "vectors cols"], matrix: PackedMatrix, bias: Float[Tensor, " rows"] | None
) -> Float[Tensor, "vectors rows"]:
    """W x + b, the way that device and number of inputs make the fastest."""
    if inputs.device.type == "cuda":
        if len(inputs) <= DIRECT_INPUTS_GPU:
            from radio.kernels import gpu  # Triton costs a second, and is for GPUs alone

            return gpu.product(inputs.detach(), matrix, bias)
    elif (compiled := cpu.handle(matrix)) is not None:
        direct = len(inputs) <= DIRECT_INPUTS[inputs.dtype]
        product = compiled.product if direct else compiled.product_of_decoded
        result: Tensor = product(inputs, bias)
        return result
    return product_of_decoded(inputs, matrix, bias)


@torch.no_grad()
def product_of_decoded(
    inputs: Float[Tensor, "vectors cols"],
    matrix: PackedMatrix,
    bias: Float[Tensor, " rows"] | None,
) -> Float[Tensor, "vectors rows"]:
    """W x + b by decoding the weights of one cluster after another, in the type of the inputs."""
    outputs = inputs.new_empty(len(inputs), matrix.rows)
    for cluster in range(len(matrix.counts)):
        lanes = matrix.lanes_of(cluster)
        weight = matrix.decode_cluster(cluster).to(inputs.dtype)
        outputs[:, lanes[lanes >= 0].long()] = (inputs @ weight)[:, : int((lanes >= 0).sum())]
    return outputs if bias is None else outputs + bias.to(outputs)
