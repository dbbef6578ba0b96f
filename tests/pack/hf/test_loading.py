"""Packed models in transformers: the same numbers as in the suite, under its ways of loading."""

import copy
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from transformers import AutoModel, AutoModelForCausalLM, AutoTokenizer, pipeline

from radio.kernels.layout import packed_matrix
from radio.models import decoder_linears
from radio.pack.codecs import Companded
from radio.pack.file import load_coded, load_quantized
from radio.pack.header import SHARED
from radio.pack.hf.directory import write_dense
from radio.pack.hf.linear import KernelLinear, PackedLinear
from radio.runtime.errors import RadioError
from radio.runtime.tensors import load_tensors, save_tensors
from tests.faults.packed import resealed
from tests.pack.hf.conftest import CASES

IDS = torch.randint(2, 300, (2, 20), generator=torch.Generator().manual_seed(1))
SCRIPT = """
{first}
import {second}
from transformers import AutoModelForCausalLM, AutoTokenizer
tokenizer = AutoTokenizer.from_pretrained({path!r})
model = AutoModelForCausalLM.from_pretrained({path!r})
prompt = tokenizer("The quick", return_tensors="pt")
assert model.generate(**prompt, max_new_tokens=5).shape[1] > prompt.input_ids.shape[1]
print(model(**prompt).logits[0, -1].tolist())
"""


@torch.no_grad()
def logits(model):
    return model(input_ids=IDS).logits


def load(path, **settings):
    return AutoModelForCausalLM.from_pretrained(path, **settings)


@pytest.mark.parametrize("model, method", CASES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_logits_are_those_that_evaluate_measures(make, model, method, dtype):
    made = make(model, method)
    packed, loading = load(made.packed, dtype=dtype, output_loading_info=True)
    assert not any(loading.values())
    assert packed.dtype == dtype and not packed.training
    assert_same(logits(packed), logits(made.installed(dtype)), method)


def test_a_gradient_of_the_inputs_passes_through(make):
    """Kernels have none: where one is wanted, weights are decoded."""
    packed = load(make("llama", "radio").packed, dtype=torch.float32)
    expected = make("llama", "radio").installed()
    gradients = []
    for model in (packed, expected):
        embedded = model.get_input_embeddings()(IDS).detach().requires_grad_()
        model(inputs_embeds=embedded).logits.sum().backward()
        gradients.append(embedded.grad)
    assert torch.equal(*gradients)


@pytest.mark.parametrize("model, method", CASES)
def test_weights_stay_packed_in_memory(make, model, method):
    """The loaded model holds the file's tensors, codes once: as stored, or as kernels read them."""
    made = make(model, method)
    packed = load(made.packed, dtype=torch.float16)
    packed(input_ids=IDS)
    tensors, headers = load_coded(made.coded)
    layers = load_quantized(made.coded).layers
    expected = dict(tensors)
    for name, layer in layers.items():
        if isinstance(layer.weight, Companded):
            for key in headers[name]["tensors"]:
                if key != "bias":
                    del expected[f"{name}.{key}"]
            laid_out = packed_matrix(layer.weight).named_tensors()
            expected |= {f"{name}.{key}": tensor for key, tensor in laid_out.items()}
            assert isinstance(packed.get_submodule(name), KernelLinear)
        else:
            assert isinstance(packed.get_submodule(name), PackedLinear)
    state = {n: t for n, t in packed.state_dict().items() if n not in packed.all_tied_weights_keys}
    assert state.keys() == expected.keys()
    assert all(torch.equal(state[name], expected[name]) for name in expected)
    rotary = sum(b.nbytes for n, b in packed.named_buffers() if "inv_freq" in n)
    levels = [tensor.nbytes for name, tensor in expected.items() if name.endswith(".levels")]
    payload = sum(tensor.nbytes for tensor in expected.values()) - sum(levels[1:])
    assert packed.get_memory_footprint() == payload + rotary


@pytest.mark.parametrize("device_map", [None, "cpu", "auto", {"": "cpu"}])
def test_device_maps(make, device_map):
    made = make("llama", "radio-learned")
    packed = load(made.packed, dtype=torch.float32, device_map=device_map)
    assert_same(logits(packed), logits(made.installed()), "radio-learned")


def test_dtype_is_the_original_models_without_an_argument(make):
    assert load(make("opt", "rtn").packed).dtype == torch.float32


@pytest.mark.parametrize("method", ["rtn-g", "radio-learned"])
def test_a_cast_leaves_side_information_as_it_is(make, method):
    """bfloat16 has 8 bits of a float16 scale's 11."""
    made = make("llama", method)
    loaded = load(made.packed, dtype=torch.float32)
    packed = copy.deepcopy(loaded).to(torch.bfloat16)
    _, headers = load_coded(made.coded)
    state, before = packed.state_dict(), loaded.state_dict()
    assert state.keys() == before.keys()
    for name in state:
        layer, _, key = name.rpartition(".")
        side = name.startswith(SHARED) or (layer in headers and key != "bias")
        assert state[name].dtype == (before[name].dtype if side else torch.bfloat16)
        assert not side or torch.equal(state[name], before[name])
    torch.testing.assert_close(
        logits(packed), logits(made.installed(torch.bfloat16)), rtol=0.05, atol=0.01
    )


@pytest.mark.parametrize("model", ["llama", "opt"])
def test_generation_is_the_dense_models(make, model, tmp_path):
    made = make(model, "radio")
    write_dense(tmp_path / "dense", made.packed, torch.float32)
    packed, dense = (load(path, dtype=torch.float32) for path in (made.packed, tmp_path / "dense"))
    texts = [m.generate(IDS, max_new_tokens=10, do_sample=False) for m in (packed, dense)]
    assert texts[0].shape == (2, 30) and torch.equal(*texts)


@pytest.mark.parametrize("order", [("", "radio"), ("import transformers", "radio")])
def test_import_radio_is_enough(make, order):
    made = make("llama", "radio")
    code = SCRIPT.format(first=order[0], second=order[1], path=str(made.packed))
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    prompt = AutoTokenizer.from_pretrained(made.packed)("The quick", return_tensors="pt")
    expected = made.installed()(**prompt).logits[0, -1]
    assert answer.stdout == f"{expected.tolist()}\n", answer.stderr


def test_import_radio_is_light():
    heavy = "{'torch', 'transformers', 'numpy', 'hydra', 'safetensors'}"
    code = f"import radio, sys; print(sorted({heavy} & set(sys.modules)))"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert answer.stdout == "[]\n"


def test_pipeline(make):
    generate = pipeline("text-generation", model=str(make("llama", "radio").packed))
    (answer,) = generate("The quick", max_new_tokens=4, do_sample=False)
    assert answer["generated_text"].startswith("The quick")


@pytest.mark.filterwarnings("ignore:You passed `quantization_config`")
def test_lm_eval(make):
    from lm_eval.api.instance import Instance
    from lm_eval.models.huggingface import HFLM

    made = make("llama", "radio")
    lm = HFLM(pretrained=str(made.packed), device="cpu", dtype="float32", batch_size=1)
    asked = Instance("loglikelihood", {}, ("The quick", " brown fox"), 0)
    ((found, _),) = lm.loglikelihood([asked], disable_tqdm=True)
    tokenizer = AutoTokenizer.from_pretrained(made.checkpoint)
    ids = tokenizer("The quick brown fox", return_tensors="pt").input_ids
    start = len(tokenizer("The quick").input_ids)
    with torch.no_grad():
        scores = made.installed()(input_ids=ids).logits[0, :-1].log_softmax(-1)
    expected = scores.gather(1, ids[0, 1:, None])[start - 1 :].sum()
    assert found == pytest.approx(float(expected), rel=1e-5)


def test_save_pretrained_is_refused(make, tmp_path, caplog):
    packed = load(make("llama", "radio").packed)
    with pytest.raises(ValueError, match="not serializable"):
        packed.save_pretrained(tmp_path / "saved")
    assert "copy the directory it was loaded from" in caplog.text
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "changed, sentence",
    [
        ({"num_hidden_layers": 1}, r"does not fit config\.json beside it \(by model\.layers\.1"),
        ({"num_hidden_layers": 3}, r"does not fit config\.json beside it \(by model\.layers\.2"),
        ({"intermediate_size": 64}, r"\(by model\.layers\.0\.mlp\.gate_proj"),
        ({"vocab_size": 301}, r"\(by model\.embed_tokens\.weight"),
        ({"tie_word_embeddings": False}, r"\(by lm_head\.weight\)"),
    ],
)
def test_a_configuration_of_another_model_is_refused(make, changed, sentence):
    """As an argument; one that was edited is refused before it is used."""
    with pytest.raises(RadioError, match=sentence):
        load(make("llama", "radio").packed, **changed)


def test_a_newer_directory_is_refused(make, tmp_path):
    path = copied(make("llama", "radio").packed, tmp_path)
    config = json.loads((path / "config.json").read_text())
    config["quantization_config"]["format_version"] = 99
    (path / "config.json").write_text(json.dumps(config))
    with pytest.raises(RadioError, match="format_version=99, this radio reads"):
        load(resealed(path, tmp_path / "sealed"))


def test_a_newer_file_is_refused(make, tmp_path):
    path = copied(make("llama", "radio").packed, tmp_path)
    tensors, metadata = load_tensors(path / "model.safetensors")
    save_tensors(path / "model.safetensors", tensors, metadata | {"format_version": 99})
    with pytest.raises(RadioError, match="format_version=99, this radio reads"):
        load(resealed(path, tmp_path / "sealed"))


@pytest.mark.parametrize("damage", [lambda b: b[:-1], lambda b: b[:-9] + b"\x55" + b[-8:]])
def test_a_damaged_file_is_refused(make, tmp_path, damage):
    path = copied(make("llama", "radio").packed, tmp_path)
    file = path / "model.safetensors"
    file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(RadioError, match=r"model\.safetensors is (corrupt|not as radio wrote it)"):
        load(path)


def test_a_model_without_its_head_is_refused(make):
    with pytest.raises(RadioError, match="load it by AutoModelForCausalLM"):
        AutoModel.from_pretrained(make("llama", "radio").packed)


def test_a_layer_that_is_not_coded_is_refused(make, tmp_path):
    path = copied(make("opt", "rtn").packed, tmp_path)
    tensors, metadata = load_tensors(path / "model.safetensors")
    name = next(iter(decoder_linears(make("opt", "rtn").installed())))
    del metadata["layers"][name]
    save_tensors(path / "model.safetensors", tensors, metadata)
    path = resealed(path, tmp_path / "sealed")
    with pytest.raises(RadioError, match=rf"{name}\.weight is of type torch\.uint8"):
        load(path)


def assert_same(found: torch.Tensor, expected: torch.Tensor, method: str) -> None:
    """To the bit where weights are decoded; kernels sum in another order, and always in float32."""
    if method.startswith("radio"):
        error = (found.double() - expected.double()).norm() / expected.double().norm()
        assert error < 4 * torch.finfo(found.dtype).eps
    else:
        assert torch.equal(found, expected)


def copied(path: Path, folder: Path) -> Path:
    """A copy that a test may damage."""
    return Path(shutil.copytree(path, folder / "copy"))
