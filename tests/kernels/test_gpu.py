"""The Triton kernel against the float64 reference: on a GPU, or in Triton's interpreter."""

import pytest
import torch

from radio.kernels import gpu, reference
from radio.kernels.layout import packed_matrix
from tests.kernels.coded import HALF_ULP, allowed_error, coded

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def assert_right(matrix, inputs, bias=None):
    shift = None if bias is None else bias.to(DEVICE)
    outputs = gpu.product(inputs.to(DEVICE), packed_matrix(matrix).to(DEVICE), shift).cpu()
    error = (outputs.double() - reference.product(matrix, inputs, bias)).abs()
    allowed = allowed_error(matrix, inputs, bias, outputs.dtype)
    if outputs.dtype == torch.bfloat16 and DEVICE == "cpu":
        allowed = 2 * allowed  # the interpreter cuts off where GPUs round
    assert outputs.dtype == inputs.dtype
    assert bool((error <= allowed).all())


@pytest.mark.parametrize("dtype", HALF_ULP)
@pytest.mark.parametrize("rows, cols", [(1, 1), (1, 70), (70, 1), (16, 32), (50, 95), (100, 260)])
def test_matches_reference(rows, cols, dtype):
    for clusters, vectors in ((1, 1), (3, 3)):
        matrix = coded(rows, cols, clusters, seed=cols, learned=clusters == 3)
        assert_right(matrix, torch.randn(vectors, cols).to(dtype), torch.randn(rows).to(dtype))


@pytest.mark.parametrize("depth", range(9))
def test_every_depth_everywhere(depth):
    for cols in (1, 32, 70):
        assert_right(coded(33, cols, 2, depths=(depth,)), torch.randn(2, cols))


@pytest.mark.parametrize("vectors", [0, 1, 4, 8, 9, 17])
def test_numbers_of_vectors(vectors):
    assert_right(coded(20, 40), torch.randn(vectors, 40))


def test_the_same_bytes_again():
    matrix, inputs = packed_matrix(coded(40, 100, 2)).to(DEVICE), torch.randn(3, 100).to(DEVICE)
    assert torch.equal(gpu.product(inputs, matrix, None), gpu.product(inputs, matrix, None))
