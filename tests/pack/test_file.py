"""The quantized file: whole round trips, bytes by formula, refusals."""

import struct
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from radio.allocate.layers import allocate_layers
from radio.calibrate.statistics import LayerStatistics
from radio.models import decoder_linears, load_model
from radio.pack.file import assemble, install, load_quantized, save_quantized
from radio.quantize.blockwise import MethodInputs, quantize_layers
from radio.quantize.methods.fp16 import Fp16
from radio.quantize.methods.radio import Radio
from radio.quantize.methods.rtn import Rtn
from radio.runtime.errors import RadioError
from radio.runtime.tensors import load_tensors, save_tensors
from radio.theory.codebook import join
from radio.theory.grouping import locations_and_scales
from tests.tiny import tiny_llama, tiny_opt

MODELS = {
    "llama-tied": (tiny_llama, {}),
    "llama-untied": (tiny_llama, {"tie_word_embeddings": False}),
    "opt": (tiny_opt, {}),
    "opt-projected": (tiny_opt, {"word_embed_proj_dim": 32}),
}
METHODS = {
    "fp16": (Fp16(), 16.0),
    "rtn": (Rtn(), 3.0),
    "rtn-g": (Rtn(24), 3.0),
    "radio": (Radio(), 2.7),
    "radio-learned": (Radio("learned", "least_squares"), 2.7),
    "radio-bytes": (Radio(scale_bits=8), 2.7),
}


# no law's levels: only the file can know them
CODEBOOKS = tuple(
    torch.linspace(-2, 2, 2**bits).sign() * torch.linspace(-2, 2, 2**bits).square()
    if bits
    else torch.zeros(1)
    for bits in range(9)
)


@pytest.fixture(params=MODELS, scope="module")
def model(request, tmp_path_factory):
    make, overrides = MODELS[request.param]
    return load_model(make(tmp_path_factory.mktemp("tiny") / "model", **overrides))


def statistics_of(model) -> dict[str, LayerStatistics]:
    """Plausible statistics without a calibration: two clusters where there are rows enough."""
    statistics = {}
    generator = torch.Generator().manual_seed(0)
    for name, linear in decoder_linears(model).items():
        rows, cols = linear.weight.shape
        cluster = torch.arange(rows) % (2 if rows >= 64 else 1)
        clusters = int(cluster.max()) + 1
        _, scale = locations_and_scales(linear.weight.detach().float(), cluster, clusters)
        grad_var = torch.exp(3 * torch.randn(clusters, cols, generator=generator))
        mean = torch.randn(cols, generator=generator)
        statistics[name] = LayerStatistics(cluster, grad_var, scale.square(), mean)
    return statistics


def quantized_by(model, method):
    quantizer, rate = METHODS[method]
    if not method.startswith("radio"):
        return assemble(model, quantize_layers(model, quantizer, rate))
    statistics = statistics_of(model)
    depths, _ = allocate_layers(statistics, rate, "ascent")
    books = CODEBOOKS if method == "radio-learned" else None
    return assemble(
        model, quantize_layers(model, quantizer, rate, MethodInputs(statistics, depths, books))
    )


@pytest.fixture(params=METHODS)
def method(request):
    return request.param


def test_file_gives_back_the_model(model, method, tmp_path):
    quantized = quantized_by(model, method)
    save_quantized(tmp_path / "q.safetensors", quantized)
    loaded = load_quantized(tmp_path / "q.safetensors")
    fresh = load_model(_path_of(model))
    ids = torch.randint(2, 300, (1, 20))
    with torch.no_grad():
        direct = install(load_model(_path_of(model)), quantized)(input_ids=ids).logits
        stored = install(fresh, loaded)(input_ids=ids).logits
        original = model(input_ids=ids).logits
    assert torch.equal(direct, stored)
    if method == "fp16":
        torch.testing.assert_close(stored, original, rtol=1e-2, atol=2e-3)
    else:
        assert not torch.allclose(stored, original, rtol=1e-2, atol=2e-3)


def test_file_bytes_equal_the_formula(model, method, tmp_path):
    """File = header + codes and side information (true rate x weights) + the rest in float16."""
    quantized = quantized_by(model, method)
    path = tmp_path / "q.safetensors"
    save_quantized(path, quantized)
    with path.open("rb") as file:
        header_bytes = 8 + struct.unpack("<Q", file.read(8))[0]
    linears = decoder_linears(model)
    weights = sum(linear.weight.numel() for linear in linears.values())
    everything = sum(p.numel() for p in model.parameters())  # tied copies count once
    assert quantized.weights() == weights
    rate_bytes = quantized.bpw() * weights / 8
    old_biases = sum(linear.bias.numel() for linear in linears.values() if linear.bias is not None)
    rest_bytes = 2 * (everything - weights - old_biases)
    assert path.stat().st_size == header_bytes + rate_bytes + rest_bytes + 2 * old_biases


def test_the_codebook_is_stored_and_counted_once(tmp_path):
    model = load_model(tiny_llama(tmp_path / "model"))
    quantized = quantized_by(model, "radio-learned")
    save_quantized(tmp_path / "q.safetensors", quantized)
    tensors, _ = load_tensors(tmp_path / "q.safetensors")
    assert [t.nbytes for key, t in tensors.items() if "codebook" in key] == [1020]
    own_bytes = sum(layer.stored_bytes() for layer in quantized.layers.values())
    assert quantized.bpw() * quantized.weights() == pytest.approx(8 * (own_bytes + 1020))
    loaded = load_quantized(tmp_path / "q.safetensors")
    assert loaded.bpw() == quantized.bpw()
    assert all(
        torch.equal(layer.weight.codebook, join(CODEBOOKS)) for layer in loaded.layers.values()
    )


def test_layers_of_two_codebooks_are_refused(tmp_path):
    model = load_model(tiny_llama(tmp_path / "model", num_hidden_layers=1))
    layers = quantized_by(model, "radio-learned").layers
    name, layer = next(iter(layers.items()))
    other = replace(layer.weight, codebook=layer.weight.codebook + 1)
    mixed = assemble(model, layers | {name: replace(layer, weight=other)})
    with pytest.raises(ValueError, match="do not share one codebook"):
        save_quantized(tmp_path / "q.safetensors", mixed)


def test_rates(model, method):
    quantized = quantized_by(model, method)
    nominal = METHODS[method][1]
    assert quantized.mean_depth() == pytest.approx(nominal, abs=0.05)
    if method == "fp16":
        assert quantized.bpw() == 16
    else:
        assert quantized.bpw() > quantized.mean_depth()


def test_original_biases_are_kept_and_not_charged(tmp_path):
    opt = load_model(tiny_opt(tmp_path / "model"))
    quantized = quantized_by(opt, "rtn")
    for name, linear in decoder_linears(opt).items():
        layer = quantized.layers[name]
        assert not layer.bias_added and torch.equal(layer.bias, linear.bias.detach().half())


def test_truncated_file_is_refused_at_every_cut(tmp_path):
    model = load_model(tiny_llama(tmp_path / "model", num_hidden_layers=1))
    path = tmp_path / "q.safetensors"
    save_quantized(path, quantized_by(model, "radio"))
    whole = path.read_bytes()
    for cut in (0, 4, 8, 100, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:cut])
        with pytest.raises(RadioError, match="corrupt"):
            load_quantized(path)


def test_newer_format_is_refused(tmp_path):
    model = load_model(tiny_llama(tmp_path / "model", num_hidden_layers=1))
    path = tmp_path / "q.safetensors"
    save_quantized(path, quantized_by(model, "rtn"))
    tensors, metadata = load_tensors(path)
    save_tensors(path, tensors, metadata | {"format_version": 99})
    with pytest.raises(RadioError, match="format_version=99"):
        load_quantized(path)


def test_another_architecture_is_refused(tmp_path):
    small = load_model(tiny_llama(tmp_path / "small", num_hidden_layers=1))
    large = load_model(tiny_llama(tmp_path / "large"))
    with pytest.raises(RadioError, match="does not fit"):
        install(large, quantized_by(small, "rtn"))
    with pytest.raises(RadioError, match=r"artifacts\.statistics belongs to a model"):
        quantize_layers(large, Radio(), 3.0, MethodInputs(statistics_of(small)))


def _path_of(model):
    return Path(model.name_or_path)
