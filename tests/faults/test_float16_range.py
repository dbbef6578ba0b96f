"""Values that float16 does not hold: nothing in a file or a model is infinite."""

from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from radio.calibrate.statistics import LayerStatistics
from radio.models import load_model
from radio.pack.file import assemble, install, load_quantized, save_quantized
from radio.pack.floats import normalized, stored
from radio.pack.hf.directory import write_dense
from radio.quantize.blockwise import quantize_layers
from radio.quantize.input_stats import InputStats
from radio.quantize.methods.base import LinearLayer
from radio.quantize.methods.fp16 import Fp16
from radio.quantize.methods.gptq import Gptq
from radio.quantize.methods.owq import Owq
from radio.quantize.methods.radio import Radio
from radio.quantize.methods.rtn import Rtn
from radio.runtime.errors import RadioError
from tests.pack.hf.conftest import pack
from tests.pack.test_file import quantized_by
from tests.tiny import tiny_llama

IDS = torch.arange(20)[None] + 5
NORM, WEIGHT = "model.layers.0.input_layernorm.weight", "model.layers.0.mlp.up_proj.weight"
EMBEDDING = "model.embed_tokens.weight"
METHODS = {
    "rtn": (Rtn(), 8.0),
    "rtn-clip": (Rtn(32, clip=True), 4.0),
    "rtn-symmetric": (Rtn(32, symmetric=True), 8.0),
    "gptq": (Gptq(32), 8.0),
    "owq": (Owq(extra_bits=0.5), 4.0),
    "fp16": (Fp16(), 16.0),
    "radio": (Radio(), 4.0),
    "radio-bytes": (Radio(scale_bits=8), 4.0),
    "radio-feedback": (Radio(error_compensation=True, scale_fit="least_squares"), 4.0),
}


@pytest.mark.parametrize(
    "values, dtype",
    [
        ([0.0, 0.0], torch.float16),
        ([1.0, 65504.0, 1e-9], torch.float16),
        ([6.2e-5, 1e-9], torch.float16),
        ([1.0, 2.0**17], torch.bfloat16),
        ([1.1, 2.0**17], torch.float32),
        ([2.0**-20], torch.bfloat16),
        ([1.1e-6], torch.float32),
        ([], torch.float16),
    ],
)
def test_the_type_is_the_narrowest_that_holds(values, dtype):
    tensor = torch.tensor(values)
    assert stored(tensor).dtype == dtype
    if dtype != torch.float16:
        assert torch.equal(stored(tensor).float(), tensor)


def test_weights_are_divided_by_no_more_than_they_need():
    assert normalized(torch.full((2, 2), 3.0), 1.0, 4.0)[1] == 0
    weight, exponent = normalized(torch.tensor([[5.0, 1.0]]), 1.0, 4.0)
    assert exponent == 1 and torch.equal(weight, torch.tensor([[2.5, 0.5]]))
    weight, exponent = normalized(torch.tensor([[2.0**-9, 0.0]]), 1.0, 4.0)
    assert exponent == -8 and torch.equal(weight, torch.tensor([[0.5, 0.0]]))
    assert normalized(torch.zeros(2, 2), 1.0, 4.0)[1] == 0


def layer(scale: float) -> LinearLayer:
    """A layer with an outlier, whose weights are those of scale 1 times a power of two."""
    generator = torch.Generator().manual_seed(1)
    weight = torch.randn(16, 64, generator=generator)
    weight[3, 5] = 20.0
    inputs = torch.randn(200, 64, generator=generator)
    statistics = LayerStatistics(
        torch.arange(16) % 2, torch.ones(2, 64), torch.ones(2, 64), torch.zeros(64)
    )
    moments = InputStats(inputs.mean(0), inputs.T @ inputs / 200, 200, inputs.abs().mean(0))
    depths = torch.randint(1, 7, (2, 64), generator=generator).to(torch.uint8)
    return LinearLayer("x", weight * scale, None, statistics, depths, moments)


@pytest.mark.parametrize(
    "octaves, method", [*((n, method) for n in (-40, 15) for method in METHODS), (-10, "rtn")]
)
def test_the_error_is_that_of_ordinary_weights(method, octaves):
    """Relative to the weights, within what float16's rounding of scales explains."""
    quantizer, rate = METHODS[method]
    errors = []
    for scale in (1.0, 2.0**octaves):
        given = layer(scale)
        decoded = quantizer.quantize(given, rate).weight.decode()
        errors.append(float(((decoded - given.weight) / scale).double().square().mean()))
    assert errors[1] <= 1.15 * errors[0] + 1e-12


@pytest.mark.parametrize("method", METHODS)
def test_ordinary_layers_have_no_exponent(method):
    quantizer, rate = METHODS[method]
    coded = quantizer.quantize(layer(0.02), rate).weight
    assert "exponent" not in coded.fields()
    assert all(tensor.dtype != torch.float32 for tensor in coded.to_tensors().values())


def changed(folder, name: str, value: float):
    """Return a bfloat16 checkpoint with one large value."""
    checkpoint = tiny_llama(folder / "checkpoint", num_hidden_layers=1)
    weights = {n: t.bfloat16() for n, t in load_file(checkpoint / "model.safetensors").items()}
    weights[name].view(-1)[4] = value
    save_file(weights, checkpoint / "model.safetensors", metadata={"format": "pt"})
    return checkpoint


@pytest.mark.parametrize(
    "method, name",
    [("fp16", WEIGHT), ("rtn", NORM), ("rtn", EMBEDDING), ("radio-bytes", WEIGHT)],
)
def test_a_large_value_stays_finite_in_every_form(name, method, tmp_path):
    checkpoint = changed(tmp_path, name, 1e5)
    made = pack(tmp_path, checkpoint, quantized_by(load_model(checkpoint), method))
    quantized = load_quantized(made.coded)
    assert all(tensor.isfinite().all() for tensor in quantized.rest.values())
    exact = dict(load_model(checkpoint).named_parameters())
    if name != WEIGHT:
        assert torch.equal(quantized.rest[name].float(), exact[name])
    with torch.no_grad():
        expected = made.installed()(input_ids=IDS).logits
        packed = AutoModelForCausalLM.from_pretrained(made.packed, dtype=torch.float32)
        torch.testing.assert_close(packed(input_ids=IDS).logits, expected, rtol=1e-4, atol=1e-4)
    write_dense(tmp_path / "dense", made.packed, torch.bfloat16)
    for refused in (
        lambda: AutoModelForCausalLM.from_pretrained(made.packed, dtype=torch.float16),
        lambda: write_dense(tmp_path / "half", made.packed, torch.float16),
        lambda: install(load_model(changed(tmp_path, name, 1.0), torch.float16), quantized),
    ):
        with pytest.raises(RadioError, match=f"dtype=float16 does not hold {name}.*bfloat16"):
            refused()
    assert not (tmp_path / "half").exists()


def test_a_large_bias_correction_is_stored_whole(tmp_path):
    """Mean inputs of 1e7, as behind a norm of large weights."""
    given = layer(1.0)
    statistics = replace(given.statistics, input_mean=torch.full((64,), 1e7))
    quantized = Radio().quantize(replace(given, statistics=statistics, inputs=None), 3.0)
    assert quantized.bias.dtype == torch.float32 and quantized.bias.abs().max() > 65504


def test_tensors_that_would_broadcast_are_refused(tmp_path):
    model = load_model(tiny_llama(tmp_path / "model", num_hidden_layers=1))
    quantized = assemble(model, quantize_layers(model, Rtn(), 3.0))
    quantized.rest["model.norm.weight"] = torch.ones(1).half()
    save_quantized(tmp_path / "q", quantized)
    with pytest.raises(RadioError, match="does not fit"):
        install(model, load_quantized(tmp_path / "q"))
