"""Quantization block by block: the model's own hidden states, moments, what is left behind."""

import pytest
import torch

from radio.cli import main
from radio.data.tokens import hashed_blocks, sample_sequences, save_token_splits
from radio.models import decoder_blocks, decoder_linears, final_hidden, load_model, scaling_groups
from radio.pack.codecs.linear import install_layer
from radio.pack.file import assemble, install, load_quantized
from radio.quantize.blockwise import MethodInputs, quantize_layers
from radio.quantize.methods.fp16 import Fp16
from radio.quantize.methods.rtn import Rtn
from radio.runtime.errors import RadioError
from radio.runtime.files import write_json
from tests.manifests import manifest_of
from tests.tiny import tiny_llama, tiny_opt

MODELS = {
    "llama": (tiny_llama, {"num_hidden_layers": 3}),
    "opt": (tiny_opt, {"num_hidden_layers": 3}),
    "opt-350m": (tiny_opt, {"word_embed_proj_dim": 32, "do_layer_norm_before": False}),
}
IDS = torch.randint(2, 300, (3, 24), generator=torch.Generator().manual_seed(5))


@pytest.fixture(params=MODELS, scope="module")
def checkpoint(request, tmp_path_factory):
    make, overrides = MODELS[request.param]
    return make(tmp_path_factory.mktemp("tiny") / "model", **overrides)


class Watched:
    """A method that keeps the layers it is given, and may add a bias."""

    def __init__(self, method, shift: float = 0.0) -> None:
        self.method, self.shift, self.layers = method, shift, {}

    def check_rate(self, rate_bits: float) -> None:
        self.method.check_rate(rate_bits)

    def quantize(self, layer, rate_bits: float):
        # a copy, since the driver overwrites the weights in place
        self.layers[layer.name] = layer, layer.weight.clone()
        quantized = self.method.quantize(layer, rate_bits)
        if not self.shift:
            return quantized
        bias = torch.zeros(len(layer.weight)) if layer.bias is None else layer.bias
        return quantized.with_bias(bias + self.shift, added=layer.bias is None)


class Tripled(Watched):
    """Divides by 3 every tensor of a block that can be, and keeps the moments it is shown."""

    def __init__(self, method) -> None:
        super().__init__(method)
        self.shown, self.rates = [], set()

    def reparametrize(self, block, inputs, rate_bits: float) -> None:
        self.shown.append(inputs)
        self.rates.add(rate_bits)
        for scaling_group in scaling_groups(block):
            reader = next(iter(scaling_group.readers.values()))
            scaling_group.divide(torch.full((reader.in_features,), 3.0))


def recorded_inputs(model) -> dict[str, torch.Tensor]:
    """All inputs of every linear layer, float64 [tokens, cols], by the model's own forward pass."""
    inputs = {name: [] for name in decoder_linears(model)}
    handles = [
        linear.register_forward_pre_hook(
            lambda _, args, name=name: inputs[name].append(args[0].flatten(0, -2).double())
        )
        for name, linear in decoder_linears(model).items()
    ]
    with torch.no_grad():
        for sequence in IDS.split(1):
            final_hidden(model, sequence)
    for handle in handles:
        handle.remove()
    return {name: torch.cat(parts) for name, parts in inputs.items()}


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_blocks_make_the_models_own_hidden_states_bit_for_bit(checkpoint, attention):
    """Under a method that changes nothing; eager attention is given an explicit mask."""
    model = load_model(checkpoint).half().float()  # what float16 holds exactly
    model.set_attn_implementation(attention)
    outputs = {name: [] for name in decoder_blocks(model)}
    handles = [
        # hooks are copied with the block, so they also see what the copies compute
        block.register_forward_hook(lambda _, args, out, name=name: outputs[name].append(out[0]))
        for name, block in decoder_blocks(model).items()
    ]
    with torch.no_grad():
        for sequence in IDS.split(1):
            final_hidden(model, sequence)
    own = {name: torch.stack(states) for name, states in outputs.items()}
    for states in outputs.values():
        states.clear()
    quantize_layers(model, Fp16(), 16.0, MethodInputs(blocks=IDS))
    for handle in handles:
        handle.remove()
    for name, states in outputs.items():
        # once for the moments, and once more to advance
        assert torch.equal(torch.stack(states), own[name].repeat(2, 1, 1))


@pytest.mark.parametrize("shift", [0.0, 0.1], ids=["", "bias"])
def test_moments_are_those_of_a_model_whose_earlier_blocks_are_quantized(checkpoint, shift):
    """Against a full forward pass with block 0 quantized beforehand; biases count as well."""
    method = Watched(Rtn(), shift)
    done = quantize_layers(load_model(checkpoint), method, 3.0, MethodInputs(blocks=IDS))
    model = load_model(checkpoint)
    first, second = list(decoder_blocks(model))[:2]
    linears = decoder_linears(model)
    original = recorded_inputs(model)
    for name in (name for name in linears if name.startswith(f"{first}.")):
        install_layer(linears[name], done[name])
    later = recorded_inputs(model)
    for name, (layer, _) in method.layers.items():
        if not name.startswith((f"{first}.", f"{second}.")):
            continue
        # within a block, inputs come from its layers as they were
        wanted = original if name.startswith(f"{first}.") else later
        x = wanted[name]
        torch.testing.assert_close(layer.inputs.mean.double(), x.mean(0), rtol=1e-4, atol=1e-6)
        moment = layer.inputs.second_moment.double()
        torch.testing.assert_close(moment, x.T @ x / len(x), rtol=1e-4, atol=1e-6)
        assert layer.inputs.tokens == IDS.numel()
        if wanted is later:
            assert (x - original[name]).norm() > 0.02 * x.norm()  # the difference is there to see


def test_layers_that_read_one_tensor_share_its_moments(checkpoint):
    method = Watched(Rtn())
    quantize_layers(load_model(checkpoint), method, 3.0, MethodInputs(blocks=IDS))
    reads = {}
    for name, (layer, _) in method.layers.items():
        reads.setdefault(id(layer.inputs), set()).add(name.rpartition(".")[2])
    attention = {"q_proj", "k_proj", "v_proj"}
    llama = [attention, {"o_proj"}, {"gate_proj", "up_proj"}, {"down_proj"}]
    opt = [attention, {"out_proj"}, {"fc1"}, {"fc2"}]
    kinds = llama if any("gate" in name for name in method.layers) else opt
    blocks = len(decoder_blocks(load_model(checkpoint)))
    assert sorted(map(sorted, reads.values())) == sorted(map(sorted, kinds * blocks))


def test_afterwards_the_model_is_the_quantized_one_and_nothing_else(checkpoint):
    model = load_model(checkpoint)
    done = quantize_layers(model, Watched(Rtn(), 0.1), 3.0, MethodInputs(blocks=IDS))
    assert list(done) == list(decoder_linears(model))
    fresh = load_model(checkpoint)
    for name, linear in decoder_linears(fresh).items():
        install_layer(linear, done[name])
    assert dict(model.named_parameters()).keys() == dict(fresh.named_parameters()).keys()
    for one, other in zip(model.parameters(), fresh.parameters(), strict=True):
        assert torch.equal(one, other)
    written = install(load_model(checkpoint), assemble(model, done))
    with torch.no_grad():
        there, here = final_hidden(written, IDS), final_hidden(model, IDS)
    torch.testing.assert_close(there, here, rtol=0, atol=0.02)  # embeddings rounded to float16


def test_a_block_method_changes_blocks_that_compute_the_same(checkpoint):
    """Layers are quantized as it left them, and the file holds the norms that go with them."""
    method, original = Tripled(Fp16()), load_model(checkpoint)
    model = load_model(checkpoint)
    done = quantize_layers(model, method, 16.0, MethodInputs(blocks=IDS))
    written = install(load_model(checkpoint), assemble(model, done))
    with torch.no_grad():
        wanted, found = final_hidden(original, IDS), final_hidden(written, IDS)
    torch.testing.assert_close(found, wanted, rtol=0, atol=0.02)  # all is rounded to float16
    assert method.rates == {16.0} and len(method.shown) == len(decoder_blocks(model))
    before = decoder_linears(original)
    for prefix, block in decoder_blocks(original).items():
        read = {
            f"{prefix}.{name}"
            for scaling_group in scaling_groups(block)
            for name in scaling_group.readers
        }
        written_by = {id(scaling_group.writer) for scaling_group in scaling_groups(block)}
        assert read
        for name in (name for name in before if name.startswith(prefix)):
            columns = 3.0 if name in read else 1.0
            rows = 1 / 3 if id(before[name]) in written_by else 1.0
            factor = torch.tensor(columns * rows)
            torch.testing.assert_close(method.layers[name][1], before[name].weight * factor)


def test_moments_follow_what_a_block_method_has_changed(checkpoint):
    """It is shown those of the block as it was; layers are given a third of them where divided."""
    method, model = Tripled(Rtn()), load_model(checkpoint)
    quantize_layers(model, method, 3.0, MethodInputs(blocks=IDS))
    for (prefix, block), shown in zip(decoder_blocks(model).items(), method.shown, strict=True):
        read = {name for scaling_group in scaling_groups(block) for name in scaling_group.readers}
        assert shown.keys() >= read
        for name, before in shown.items():
            after, factor = method.layers[f"{prefix}.{name}"][0].inputs, 3 if name in read else 1
            torch.testing.assert_close(after.mean * factor, before.mean, rtol=1e-4, atol=1e-6)
            second = after.second_moment * factor**2
            torch.testing.assert_close(second, before.second_moment, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("fails", [False, True])
def test_no_hooks_are_left(checkpoint, fails):
    model = load_model(checkpoint)
    if fails:
        with torch.no_grad():
            next(iter(decoder_linears(model).values())).weight[0, 0] = torch.inf
        with pytest.raises(RadioError, match="not finite"):
            quantize_layers(model, Rtn(), 3.0, MethodInputs(blocks=IDS))
    else:
        quantize_layers(model, Rtn(), 3.0, MethodInputs(blocks=IDS))
    assert not any(m._forward_pre_hooks or m._forward_hooks for m in model.modules())
    assert not model.training and all(p.requires_grad for p in model.parameters())


def test_bfloat16_is_for_activations_only(checkpoint):
    """Weights are quantized from float32, moments are float32, and they agree within bfloat16."""
    exact, rough, original = Watched(Rtn()), Watched(Rtn()), load_model(checkpoint)
    quantize_layers(load_model(checkpoint), exact, 3.0, MethodInputs(blocks=IDS))
    model = load_model(checkpoint)
    quantize_layers(model, rough, 3.0, MethodInputs(blocks=IDS, dtype=torch.bfloat16))
    for name, linear in decoder_linears(original).items():
        layer, weight = rough.layers[name]
        assert torch.equal(weight, linear.weight)
        wanted = exact.layers[name][0].inputs.second_moment
        assert layer.inputs.second_moment.dtype == torch.float32
        relative = (layer.inputs.second_moment - wanted).norm() / wanted.norm()
        assert relative < 0.03  # bfloat16 has 8 bits
    assert all(p.dtype == torch.float32 for p in model.parameters())


def test_without_a_text_the_model_stays_as_it_is(checkpoint):
    method, model, original = Watched(Rtn()), load_model(checkpoint), load_model(checkpoint)
    quantize_layers(model, method, 3.0)
    for one, other in zip(model.parameters(), original.parameters(), strict=True):
        assert torch.equal(one, other)
    assert all(layer.inputs is None for layer, _ in method.layers.values())


def run_step(tmp_path, monkeypatch, inputs: str, *overrides: str) -> int:
    """`radio quantize` with a method of the user's own that needs inputs."""
    monkeypatch.setenv("RADIO_CONFIG_DIRS", str(tmp_path / "config"))
    (tmp_path / "config/method").mkdir(parents=True)
    (tmp_path / "config/method/mine.yaml").write_text(
        "name: mine\nlabel: mine\nneeds: [inputs]\ncalibration: null\n"
        f"{inputs}\nquantizer:\n  _target_: radio.quantize.methods.rtn.Rtn\n  group_cols: null\n"
    )
    model = tiny_llama(tmp_path / "model")
    write_json(tmp_path / "model.json", {"measured": {"path": str(model)}, "wall_s": 0.0})
    splits = {"calibration": hashed_blocks(IDS, "tiny", [])}
    save_token_splits(tmp_path / "tokens.safetensors", splits)
    manifest_of(tmp_path / "tokens.safetensors", "tokenize")
    given = ["method=mine", "rate_bits=3", f"artifacts.model={tmp_path / 'model.json'}"]
    return main(["quantize", *given, f"out={tmp_path / 'q.safetensors'}", *overrides])


def test_the_step_reads_the_text_that_a_method_needs(tmp_path, monkeypatch):
    inputs = "inputs: {sequences: 2, dtype: bfloat16}"
    tokens = f"artifacts.tokens={tmp_path / 'tokens.safetensors'}"
    seen = []

    def spied(*arguments):
        seen.append(arguments[3])
        return quantize_layers(*arguments)

    monkeypatch.setattr("radio.steps.quantize.quantize_layers", spied)
    assert run_step(tmp_path, monkeypatch, inputs, tokens) == 0
    assert (
        torch.equal(seen[0].blocks, sample_sequences(IDS, 2, 0)) and seen[0].dtype == torch.bfloat16
    )
    # what is written is made of the original weights
    original = load_model(tmp_path / "model")
    written = load_quantized(tmp_path / "q.safetensors").layers
    for name, wanted in quantize_layers(original, Rtn(), 3.0).items():
        assert torch.equal(written[name].weight.decode(), wanted.weight.decode())


@pytest.mark.parametrize(
    "inputs, text, sentence",
    [
        ("inputs: {sequences: 2, dtype: bfloat16}", False, "artifacts.tokens is missing"),
        ("inputs: {sequences: 4, dtype: bfloat16}", True, "inputs.sequences=4 exceeds the 3 bloc"),
        (
            "inputs: {sequences: 0, dtype: bfloat16}",
            True,
            "method.inputs.sequences=0 is not accepted",
        ),
        ("inputs: {sequences: 2, dtype: int8}", True, "method.inputs.dtype=int8 is not accepted"),
        ("", True, "method.inputs=null does not suit method=mine"),
    ],
)
def test_the_step_refuses(tmp_path, monkeypatch, capsys, inputs, text, sentence):
    tokens = [f"artifacts.tokens={tmp_path / 'tokens.safetensors'}"] if text else []
    assert run_step(tmp_path, monkeypatch, inputs, *tokens) == 2
    assert sentence in capsys.readouterr().err
    assert not (tmp_path / "q.safetensors").exists()
