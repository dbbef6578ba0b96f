"""The dispatcher: every way gives the reference's products, whatever the batch."""

import pytest
import torch

from radio.kernels import dispatch, reference
from radio.kernels.layout import packed_matrix
from tests.kernels.coded import coded


@pytest.mark.parametrize("shape", [(40,), (1, 40), (2, 3, 40), (0, 40), (300, 40)])
def test_batches(shape):
    matrix = coded(25, 40, 2)
    inputs, bias = torch.randn(shape), torch.randn(25)
    outputs = dispatch.packed_linear(inputs, packed_matrix(matrix), bias)
    assert outputs.shape == (*shape[:-1], 25)
    expected = reference.product(matrix, inputs.reshape(-1, 40), bias).view(outputs.shape)
    torch.testing.assert_close(outputs.double(), expected, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("dtype", dispatch.DIRECT_INPUTS)
@pytest.mark.parametrize("beyond", [0, 1])
def test_both_sides_of_the_threshold(beyond, dtype):
    matrix = coded(25, 40, 2, depths=(1, 2, 3, 4))
    inputs = torch.randn(dispatch.DIRECT_INPUTS[dtype] + beyond, 40).to(dtype)
    outputs = dispatch.packed_linear(inputs, packed_matrix(matrix))
    expected = reference.product(matrix, inputs)
    # weights are rounded to the type too, where they are decoded first
    tolerance = {torch.float32: 1e-6, torch.float16: 2e-3, torch.bfloat16: 1.6e-2}[dtype]
    assert outputs.dtype == dtype
    assert float((outputs.double() - expected).norm() / expected.norm()) < tolerance


def test_inference_mode_and_parameters():
    matrix = packed_matrix(coded(25, 40))
    inputs = torch.randn(2, 40, requires_grad=True)
    outputs = dispatch.packed_linear(inputs, matrix, torch.nn.Parameter(torch.randn(25)))
    assert not outputs.requires_grad
    with torch.inference_mode():
        assert torch.equal(
            dispatch.packed_linear(inputs, matrix), dispatch.packed_linear(inputs, matrix)
        )


@pytest.mark.gpu
@pytest.mark.parametrize("vectors", [1, 9, dispatch.DIRECT_INPUTS_GPU + 1])
def test_on_a_gpu(vectors):
    matrix, inputs = coded(250, 400, 2), torch.randn(vectors, 400)
    outputs = dispatch.packed_linear(inputs.to("cuda"), packed_matrix(matrix).to("cuda"))
    expected = reference.product(matrix, inputs)
    assert float((outputs.cpu().double() - expected).norm() / expected.norm()) < 1e-3
