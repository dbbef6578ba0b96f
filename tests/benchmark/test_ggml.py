"""ggml's products: those of the weights that the package `gguf` reads, or they are refused."""

import pytest
import torch

from radio.benchmark import ggml
from radio.runtime.errors import RadioError

pytestmark = pytest.mark.skipif(ggml.installed() is None, reason="xllamacpp is not installed")


@pytest.mark.parametrize("name", ggml.TYPES)
def test_products_are_those_of_the_dequantized_weights(name):
    kind, inputs = ggml.TYPES[name], torch.randn(512)
    strip = ggml.quantized(torch.randn(8, 512), kind)
    matrices = [ggml.Matrix(strip, kind, 32, 512) for _ in range(2)]
    products = ggml.Products(matrices, inputs)
    for call in products.calls():
        outputs = call().clone()
        ggml.check(outputs, strip, kind, inputs)
        with pytest.raises(RadioError, match="is wrong by"):
            ggml.check(outputs.roll(1), strip, kind, inputs)
    products.close()


def test_rows_that_are_no_whole_blocks():
    assert ggml.fits(4096, ggml.TYPES["ggml_q4_k"])
    assert not ggml.fits(576, ggml.TYPES["ggml_q4_k"])
    assert ggml.fits(576, ggml.TYPES["ggml_q4_0"])


@pytest.mark.parametrize(
    "make",
    [
        lambda kind, strip: ggml.quantized(torch.randn(8, 511), kind),
        lambda kind, strip: ggml.Matrix(strip[:, :-1], kind, 32, 512),
        lambda kind, strip: ggml.Matrix(strip, kind, 33, 512),
        lambda kind, strip: ggml.Matrix(strip[:0], kind, 32, 512),
        lambda kind, strip: ggml.Matrix(strip, kind, 32, 1024),
        lambda kind, strip: ggml.Products([ggml.Matrix(strip, kind, 32, 512)], torch.randn(511)),
        lambda kind, strip: ggml.Products(
            [ggml.Matrix(strip, kind, rows, 512) for rows in (32, 64)], torch.randn(512)
        ),
    ],
)
def test_sizes_that_do_not_fit_are_refused(make):
    kind = ggml.TYPES["ggml_q4_0"]
    with pytest.raises(RadioError, match="run without xllamacpp"):
        make(kind, ggml.quantized(torch.randn(8, 512), kind))
