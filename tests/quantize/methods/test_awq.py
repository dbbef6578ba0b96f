"""AWQ: without its searches it is RTN; each pays by its own objective, and in the outputs."""

import copy

import pytest
import torch

from radio.models import decoder_blocks, load_model, scaling_groups
from radio.quantize.blockwise import MethodInputs, quantize_layers
from radio.quantize.input_stats import InputStats
from radio.quantize.methods.awq import Awq, output_errors
from radio.quantize.methods.base import LinearLayer
from radio.quantize.methods.rtn import Rtn
from radio.runtime.errors import RadioError
from tests.tiny import tiny_llama, tiny_opt

IDS = torch.randint(2, 300, (3, 24), generator=torch.Generator().manual_seed(5))
MODELS = {
    "llama": (tiny_llama, {"num_key_value_heads": 4}),
    "llama-grouped-queries": (tiny_llama, {}),
    "opt": (tiny_opt, {}),
    "opt-350m": (tiny_opt, {"word_embed_proj_dim": 32, "do_layer_norm_before": False}),
}


def moments_of(x: torch.Tensor) -> InputStats:
    return InputStats(x.mean(0), x.T @ x / len(x), len(x), x.abs().mean(0))


def massive(tokens: int = 512, cols: int = 64) -> torch.Tensor:
    """Inputs of which one channel is 50 times the others."""
    x = torch.randn(tokens, cols)
    x[:, 5] *= 50
    return x


@pytest.fixture(params=MODELS)
def checkpoint(request, tmp_path):
    make, overrides = MODELS[request.param]
    return make(tmp_path / "model", **overrides)


def test_without_exponents_and_ranges_it_is_rtn(checkpoint):
    """Code for code, scale for scale: the block is left bit for bit as it was."""
    model = load_model(checkpoint)
    done = quantize_layers(model, Awq(16, exponents=1, ranges=1), 3.0, MethodInputs(blocks=IDS))
    for name, wanted in quantize_layers(load_model(checkpoint), Rtn(16), 3.0).items():
        for key, tensor in wanted.weight.to_tensors().items():
            assert torch.equal(done[name].weight.to_tensors()[key], tensor)


def test_the_blocks_function_stays_and_its_parameters_do_not(checkpoint):
    model = load_model(checkpoint)
    changed = copy.deepcopy(model)
    for block in decoder_blocks(changed).values():
        readers = [
            each
            for scaling_group in scaling_groups(block)
            for each in scaling_group.readers.items()
        ]
        inputs = {name: moments_of(massive(64, each.in_features)) for name, each in readers}
        before = {name: each.weight.clone() for name, each in readers}
        Awq(16).reparametrize(block, inputs, 3.0)
        assert readers and all(not torch.equal(each.weight, before[name]) for name, each in readers)
    with torch.no_grad():
        one, other = model.double()(IDS).logits, changed.double()(IDS).logits
    # every parameter was rounded to float32 up to twice
    assert (other - one).norm() < 1e-6 * one.norm()


def test_errors_of_outputs_are_those_of_all_tokens():
    x, error = massive().double(), torch.randn(8, 64).double()
    wanted = (x @ error.T).square().mean(dim=0)
    torch.testing.assert_close(output_errors(error, x.T @ x / len(x)), wanted)


@pytest.mark.parametrize("bits", [1, 2, 3, 4, 8])
def test_the_exponent_is_the_best_of_all_tried(bits):
    """By float64 sums over tokens, with exponents and scales written out once more."""
    x, weight, awq = massive(), torch.randn(24, 64), Awq(16)
    largest = x.abs().mean(0)

    def error(scale: torch.Tensor) -> float:
        rounded = Rtn(16).quantize(LinearLayer("", weight * scale), float(bits)).weight.decode()
        return float(
            ((x / scale).double() @ rounded.double().T - x.double() @ weight.double().T)
            .square()
            .mean()
        )

    tried = []
    for step in range(20):
        power = largest ** (step / 20)
        tried.append(error(power / (power.max() * power.min()).sqrt()))
    found = error(awq.scale(weight, moments_of(x), float(bits)))
    assert found == pytest.approx(min(tried), rel=1e-4)
    assert found <= error(torch.ones(64)) == pytest.approx(tried[0])


def test_a_massive_channel_gains_a_scale_and_inputs_alike_none():
    weight = torch.randn(24, 64)
    scale = Awq(16).scale(weight, moments_of(massive()), 3.0)
    assert scale.argmax() == 5 and scale.max() > 2
    assert scale.max() * scale.min() == pytest.approx(1, rel=1e-5)
    alike = InputStats(torch.zeros(64), torch.eye(64), 1, torch.ones(64))
    assert torch.equal(Awq(16).scale(weight, alike, 3.0), torch.ones(64))


def test_a_channel_that_is_never_on_hinders_no_other():
    x = massive()
    x[:, 7] = 0
    scale = Awq(16).scale(torch.randn(24, 64), moments_of(x), 3.0)
    assert torch.isfinite(scale).all()
    assert scale[5] > 2 * scale[torch.arange(64) != 5].max()


@pytest.mark.parametrize("bits", [1, 2, 3, 4, 8])
@pytest.mark.parametrize("group_cols", [16, 24, None])
def test_clipping_is_never_worse_in_any_group(bits, group_cols):
    """By sums over tokens, group by group and row by row; the last group of 24 is shorter."""
    x, weight = massive(), torch.randn(24, 64) ** 3
    clipped = Awq(group_cols).clipped(weight, moments_of(x).second_moment, float(bits))
    gained = 0
    for cols in torch.arange(64).split(group_cols or 64):

        def errors(run: torch.Tensor, cols=cols) -> torch.Tensor:
            rounded = Rtn().quantize(LinearLayer("", run), float(bits)).weight.decode()
            return (x[:, cols].double() @ (rounded - weight[:, cols]).double().T).square().mean(0)

        before, after = errors(weight[:, cols]), errors(clipped[:, cols])
        assert (after <= before * (1 + 1e-4)).all()
        gained += int((after < 0.99 * before).sum())
        share = clipped[:, cols].abs().amax(1) / weight[:, cols].abs().amax(1)
        assert (share > 0.55 - 1e-6).all()
        torch.testing.assert_close(share * 20, (share * 20).round(), rtol=0, atol=1e-4)
    assert gained > 0


def test_queries_and_keys_are_not_clipped():
    inputs, weight = moments_of(massive()), torch.randn(24, 64) ** 3
    for name, clips in (("q_proj", False), ("k_proj", False), ("v_proj", True), ("fc1", True)):
        layer = LinearLayer(f"model.layers.0.{name}", weight, inputs=inputs)
        rtn = Rtn(16).quantize(layer, 3.0).weight.decode()
        assert torch.equal(Awq(16).quantize(layer, 3.0).weight.decode(), rtn) != clips


def test_beats_rtn_where_a_channel_is_massive(tmp_path):
    """In the model's logits: channel 5 of the first norm is 50 times the others."""
    path = tiny_opt(tmp_path / "model")
    logits = {}

    def planted():
        model = load_model(path)
        with torch.no_grad():
            for block in decoder_blocks(model).values():
                block.get_submodule("final_layer_norm").weight[5] *= 50
        return model

    for name, method in (("awq", Awq(32)), ("rtn", Rtn(32)), ("exact", None)):
        model = planted()
        if method is not None:
            quantize_layers(model, method, 3.0, MethodInputs(blocks=IDS))
        with torch.no_grad():
            logits[name] = model(IDS).logits
    error = {name: float((logits[name] - logits["exact"]).square().mean()) for name in logits}
    assert error["awq"] < 0.5 * error["rtn"]


@pytest.mark.parametrize("rate", [0.0, 9.0, 3.5, float("nan")])
def test_refuses_rates_it_cannot_have(rate):
    with pytest.raises(RadioError, match="does not suit awq"):
        Awq().check_rate(rate)


@pytest.mark.parametrize(
    "settings", [{"group_cols": 0}, {"exponents": 0}, {"ranges": 0}, {"ranges": 21}]
)
def test_refuses_grids_of_nothing(settings):
    (name, value) = next(iter(settings.items()))
    with pytest.raises(RadioError, match=f"{name}={value}"):
        Awq(**settings)
