"""The compiled kernel against the float64 reference, for every instruction set of the machine."""

import os
import warnings

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils import cpp_extension

from radio.kernels import cpu, reference
from radio.kernels.dispatch import packed_linear
from radio.kernels.layout import packed_matrix
from radio.runtime.errors import RadioError
from tests.kernels.coded import HALF_ULP, allowed_error, coded

HERE = torch.backends.cpu.get_cpu_capability()
LESSER = {"AVX512": ["AVX2", "DEFAULT"], "AVX2": ["DEFAULT"]}.get(HERE, [])
CAPABILITIES = [HERE, *(pytest.param(c, marks=pytest.mark.slow) for c in LESSER)]
SHAPES = [(1, 1), (1, 100), (100, 1), (16, 32), (17, 33), (40, 95), (130, 260)]


class Kernel:
    """The compiled functions of one instruction set, with one matrix."""

    def __init__(self, module, packed):
        self.module, self.of = module, (packed.rows, packed.tensors())

    def product(self, inputs, bias):
        return self.module.product(inputs, bias, *self.of)

    def product_of_decoded(self, inputs, bias):
        return self.module.product_of_decoded(inputs, bias, *self.of)

    def decode(self, cluster, dtype):
        return self.module.decode(cluster, dtype, *self.of)


def kernel(capability, matrix):
    with pytest.MonkeyPatch.context() as patch:
        if capability == "DEFAULT" != HERE:
            patch.setattr(cpu, "COMMON_FLAGS", ["-O1", "-fopenmp"])  # -O3 takes two minutes
        module = cpu.compiled(capability)
    assert module is not None
    return Kernel(module, packed_matrix(matrix))


def assert_right(outputs, matrix, inputs, bias):
    error = (outputs.double() - reference.product(matrix, inputs, bias)).abs()
    assert bool((error <= allowed_error(matrix, inputs, bias, outputs.dtype)).all())


@pytest.mark.parametrize("capability", CAPABILITIES)
@pytest.mark.parametrize("rows, cols", SHAPES)
def test_matches_reference(capability, rows, cols):
    for clusters in (1, 3):
        matrix = coded(rows, cols, clusters, seed=rows + cols, learned=clusters == 3)
        packed = kernel(capability, matrix)
        for vectors in (0, 1, 2, 3, 8, 15):
            inputs, bias = torch.randn(vectors, cols), torch.randn(rows)
            assert_right(packed.product(inputs, bias), matrix, inputs, bias)
            assert_right(packed.product(inputs, None), matrix, inputs, None)


@pytest.mark.parametrize("capability", CAPABILITIES)
@pytest.mark.parametrize("depth", range(9))
def test_every_depth_everywhere(capability, depth):
    for cols in (1, 31, 32, 70):
        matrix = coded(33, cols, 2, depths=(depth,))
        packed = kernel(capability, matrix)
        for vectors in (1, 2, 4, 8):
            inputs = torch.randn(vectors, cols)
            assert_right(packed.product(inputs, None), matrix, inputs, None)


@pytest.mark.parametrize("capability", CAPABILITIES)
def test_decodes_what_the_layout_decodes(capability):
    matrix = coded(75, 130, 3, learned=True)
    packed = packed_matrix(matrix)
    for cluster in range(3):
        weight = packed.decode_cluster(cluster)
        found = kernel(capability, matrix).decode(cluster, torch.float32)
        lanes = packed.lanes_of(cluster) >= 0
        # one rounding where torch has two
        torch.testing.assert_close(found[:, lanes], weight[:, lanes], rtol=1e-6, atol=1e-6)
        nearest = kernel(capability, matrix).decode(cluster, torch.bfloat16)
        assert torch.equal(nearest, found.bfloat16())


@pytest.mark.parametrize("capability", CAPABILITIES)
@pytest.mark.parametrize("rows, cols, clusters", [(1, 1, 1), (17, 33, 1), (130, 260, 3)])
def test_product_of_decoded(capability, rows, cols, clusters):
    matrix = coded(rows, cols, clusters)
    packed = kernel(capability, matrix)
    for vectors in (0, 1, 40):
        inputs, bias = torch.randn(vectors, cols), torch.randn(rows)
        for added in (bias, None):
            assert_right(packed.product_of_decoded(inputs, added), matrix, inputs, added)
            half = packed.product_of_decoded(inputs.half(), added)
            assert_right(half, matrix, inputs.half(), added)


@settings(max_examples=60)
@given(
    rows=st.integers(1, 70),
    cols=st.integers(1, 90),
    clusters=st.integers(1, 4),
    seed=st.integers(0, 999),
    vectors=st.integers(1, 9),
)
def test_random_depth_maps(rows, cols, clusters, seed, vectors):
    matrix = coded(rows, cols, clusters, seed)
    inputs = torch.randn(vectors, cols)
    assert_right(kernel(HERE, matrix).product(inputs, None), matrix, inputs, None)


def test_a_cluster_without_rows():
    matrix = coded(20, 40, 3)
    matrix.codes[matrix.cluster == 1] = 0
    matrix.cluster[matrix.cluster == 1] = 2
    inputs = torch.randn(2, 40)
    assert_right(kernel(HERE, matrix).product(inputs, None), matrix, inputs, None)


@pytest.mark.parametrize("dtype", HALF_ULP)
def test_types_of_inputs(dtype):
    matrix = coded(50, 70, 2)
    inputs = torch.randn(3, 70).to(dtype)
    outputs = packed_linear(inputs, packed_matrix(matrix), torch.randn(50).to(dtype) * 0)
    assert outputs.dtype == dtype
    assert_right(outputs, matrix, inputs, None)


@pytest.mark.parametrize("rows, cols, clusters", [(600, 300, 1), (600, 300, 5), (17, 3000, 2)])
def test_numbers_of_threads_give_the_same_bytes(rows, cols, clusters):
    packed = kernel(HERE, coded(rows, cols, clusters))
    inputs, bias = torch.randn(13, cols), torch.randn(rows)
    threads = torch.get_num_threads()
    results = []
    try:
        for count in (1, 2, 3, 7):
            torch.set_num_threads(count)
            outputs = [packed.product(inputs[:n], bias) for n in (1, 2, 4, 13)]
            decoded = [packed.decode(c, torch.bfloat16) for c in range(clusters)]
            results.append([*outputs, *decoded])
    finally:
        torch.set_num_threads(threads)
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


def test_shapes_that_do_not_fit_are_refused():
    packed = kernel(HERE, coded(5, 6))
    for inputs, bias in ((torch.randn(2, 7), None), (torch.randn(2, 6), torch.randn(4))):
        for product in (packed.product, packed.product_of_decoded):
            with pytest.raises(RadioError, match=r"is \[.* on cpu: this packed matrix"):
                product(inputs, bias)


def test_no_compiler_is_one_warning_and_right(monkeypatch, tmp_path):
    monkeypatch.setenv("TORCH_EXTENSIONS_DIR", str(tmp_path))
    monkeypatch.setenv("CXX", "no-such-compiler")
    cpu.compiled.cache_clear()
    matrix, inputs = coded(20, 40, 2), torch.randn(2, 40)
    packed = packed_matrix(matrix)
    try:
        with pytest.warns(UserWarning, match="install a C\\+\\+ compiler") as warned:
            outputs = packed_linear(inputs, packed)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            packed_linear(inputs, packed)
    finally:
        cpu.compiled.cache_clear()
    assert len([w for w in warned if "not built" in str(w.message)]) == 1
    assert [name for name in os.listdir(tmp_path) if not name.endswith(".lock")] == []
    expected = reference.product(matrix, inputs)
    torch.testing.assert_close(outputs.double(), expected, rtol=1e-5, atol=1e-4)


def test_a_build_is_made_once(monkeypatch):
    def never(*_args: object, **_settings: object) -> None:
        raise AssertionError("built again")

    cpu.compiled(HERE)
    monkeypatch.setattr(cpp_extension, "load", never)
    cpu.compiled.cache_clear()
    assert cpu.compiled(HERE) is not None
