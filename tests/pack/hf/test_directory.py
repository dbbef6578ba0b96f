"""Directories: whole, of the bytes that their manifest says; dense ones that stock code reads."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from radio.models import decoder_linears, load_model
from radio.pack.file import assemble, load_coded, load_quantized
from radio.pack.hf.directory import write_dense, write_packed
from radio.runtime.errors import RadioError
from radio.runtime.outputs import check_directory
from tests.pack.hf.conftest import pack
from tests.pack.test_file import METHODS, quantized_by
from tests.tiny import tiny_llama, tiny_opt

IDS = torch.randint(2, 300, (2, 20), generator=torch.Generator().manual_seed(1))
MANIFEST = {"measured": {"method": "x", "rate_bits": 3, "mean_depth": 3, "bpw": 3}}
KILLED = """
import sys, time
from pathlib import Path
from radio.pack.hf import directory
def stall(source, folder):
    print(sorted(file.name for file in folder.iterdir()), flush=True)
    time.sleep(60)
directory.copy_tokenizer_files = stall
coded, checkpoint, out = map(Path, sys.argv[1:])
directory.write_packed(out, coded, checkpoint, %r)
"""


@torch.no_grad()
def logits(model):
    return model(input_ids=IDS).logits


def load(path, **settings):
    return AutoModelForCausalLM.from_pretrained(path, **settings)


def sizes(folder: Path) -> dict[str, int]:
    return {file.name: file.stat().st_size for file in folder.iterdir()}


@pytest.mark.parametrize("method", METHODS)
def test_bytes_are_those_of_the_manifest_and_of_the_true_rate(make, method):
    made = make("llama", method)
    manifest = json.loads((made.packed / "manifest.json").read_text())
    there = sizes(made.packed)
    assert manifest["size_bytes"] == sum(there.values())
    assert manifest["files"] | {"manifest.json": there["manifest.json"]} == there
    assert there["model.safetensors"] == made.coded.stat().st_size
    told = json.loads((made.packed / "config.json").read_text())["quantization_config"]
    quantized = load_quantized(made.packed / "model.safetensors")
    tensors, headers = load_coded(made.packed / "model.safetensors")
    rest = sum(tensor.nbytes for tensor in quantized.rest.values())
    kept = sum(
        tensors[f"{name}.bias"].nbytes
        for name, header in headers.items()
        if "bias" in header["tensors"] and not header["bias_added"]
    )
    payload = sum(tensor.nbytes for tensor in tensors.values())
    assert told["bpw"] * quantized.weights() / 8 == payload - rest - kept
    assert told["quant_method"] == "radio" and told["method"] == "some"


def test_all_that_a_checkpoint_has_is_there(make):
    made = make("opt", "radio")
    originals = {file.name for file in made.checkpoint.iterdir()}
    assert originals <= {file.name for file in made.packed.iterdir()}
    text = "The quick brown fox"
    tokenizers = [AutoTokenizer.from_pretrained(path) for path in (made.checkpoint, made.packed)]
    assert tokenizers[0](text).input_ids == tokenizers[1](text).input_ids
    generation = [path / "generation_config.json" for path in (made.checkpoint, made.packed)]
    assert generation[0].read_bytes() == generation[1].read_bytes()


def test_an_earlier_model_is_replaced_and_nothing_else(make, tmp_path):
    made, out = make("llama", "rtn"), tmp_path / "out"
    for _ in range(2):
        write_packed(out, made.coded, made.checkpoint, MANIFEST)
    assert sizes(tmp_path) == {"out": out.stat().st_size}
    with pytest.raises(RadioError, match="would replace the input"):
        write_dense(out, out, torch.float16)
    with pytest.raises(RadioError, match=r"which is not of a model that radio export wrote"):
        write_dense(out, made.packed, torch.float16)
    dense = tmp_path / "dense"
    for _ in range(2):
        write_dense(dense, out, torch.float16)
    assert load(dense).config.to_dict().get("quantization_config") is None
    (out / "notes.txt").write_text("mine")
    with pytest.raises(RadioError, match=r"holds notes\.txt, which is not of a model"):
        write_packed(out, made.coded, made.checkpoint, MANIFEST)
    assert (out / "notes.txt").read_text() == "mine"


def test_other_folders_and_files_are_left_alone(tmp_path):
    def check(name):
        return check_directory("quantize", tmp_path / name, "manifest.json")

    (tmp_path / "empty").mkdir()
    assert check("empty") == tmp_path / "empty"
    check("absent")
    (tmp_path / "file").write_text("mine")
    with pytest.raises(RadioError, match="is a file: name a directory"):
        check("file")
    (tmp_path / "deep" / "er").mkdir(parents=True)
    (tmp_path / "deep" / "er" / "mine").touch()
    with pytest.raises(RadioError, match="holds er/mine"):
        check("deep")
    (tmp_path / "deep" / "manifest.json").write_text('{"files": {}}')
    with pytest.raises(RadioError, match="holds er/mine"):
        check("deep")


@pytest.mark.parametrize("there", [False, True])
def test_a_killed_writer_leaves_the_name_as_it_was(make, tmp_path, there):
    made, out = make("llama", "rtn"), tmp_path / "out"
    if there:
        write_packed(out, made.coded, made.checkpoint, MANIFEST)
    before = sizes(out) if there else None
    command = [sys.executable, "-c", KILLED % MANIFEST, made.coded, made.checkpoint, out]
    with subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE, text=True) as process:
        assert "model.safetensors" in process.stdout.readline()
        os.kill(process.pid, signal.SIGKILL)
    assert out.exists() == there
    assert not there or sizes(out) == before


def test_a_corrupt_file_is_not_packed(make, tmp_path):
    made = make("llama", "rtn")
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(made.coded.read_bytes()[:-1])
    with pytest.raises(RadioError, match="is corrupt"):
        write_packed(tmp_path / "out", broken, made.checkpoint, MANIFEST)
    assert sizes(tmp_path).keys() == {"broken.safetensors"}


@pytest.mark.parametrize("model", ["llama", "llama-untied", "opt", "opt-projected"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32], ids=str)
def test_dense_weights_are_the_decoded_ones_rounded_once(make, model, dtype, tmp_path):
    made = make(model, "radio")
    write_dense(tmp_path / "dense", made.packed, dtype)
    dense, loading = load(tmp_path / "dense", output_loading_info=True)
    assert not any(loading.values())
    assert dense.dtype == dtype and not getattr(dense, "is_quantized", False)
    assert torch.equal(logits(dense), logits(made.installed(dtype)))


def test_half_precision_rounds_the_decoded_weights_and_no_more(make, tmp_path):
    made = make("llama", "radio")
    write_dense(tmp_path / "dense", made.packed, torch.float16)
    exact = logits(made.installed())
    found = logits(load(tmp_path / "dense", dtype=torch.float32))
    torch.testing.assert_close(found, exact, rtol=2e-3, atol=2e-3)


def test_added_biases_become_the_architectures_own(make, tmp_path):
    made = make("llama", "radio")
    assert all(layer.bias_added for layer in load_quantized(made.coded).layers.values())
    write_dense(tmp_path / "dense", made.packed, torch.float16)
    config = json.loads((tmp_path / "dense" / "config.json").read_text())
    assert config["attention_bias"] and config["mlp_bias"]
    original = load_model(made.checkpoint)
    assert not original.config.attention_bias and not original.config.mlp_bias


@pytest.mark.parametrize(
    "biased, flags",
    [(set(), (False, False)), ({"q_proj"}, (True, False)), ({"up_proj"}, (False, True))],
)
def test_layers_without_a_bias_beside_those_with_one_get_zeros(tmp_path, biased, flags):
    model = load_model(tiny_llama(tmp_path / "model"))
    layers = quantized_by(model, "rtn").layers
    added = {
        name: replace(layer, bias=torch.randn(layer.weight.shape[0]).half(), bias_added=True)
        for name, layer in layers.items()
        if name.rpartition(".")[2] in biased and "layers.0" in name
    }
    assert len(added) == len(biased)
    made = pack(tmp_path, tmp_path / "model", assemble(model, layers | added))
    write_dense(tmp_path / "dense", made.packed, torch.float32)
    dense, loading = load(tmp_path / "dense", output_loading_info=True)
    assert not any(loading.values())  # transformers would make biases up itself
    assert (dense.config.attention_bias, dense.config.mlp_bias) == flags
    assert torch.equal(logits(dense), logits(load(made.packed, dtype=torch.float32)))
    for name, linear in decoder_linears(dense).items():
        if linear.bias is not None and name not in added:
            assert not linear.bias.any()


def test_opt_without_biases_gets_them_where_they_were_added(tmp_path):
    checkpoint = tiny_opt(tmp_path / "model", enable_bias=False)
    made = pack(tmp_path, checkpoint, quantized_by(load_model(checkpoint), "radio"))
    write_dense(tmp_path / "dense", made.packed, torch.float32)
    dense = load(tmp_path / "dense")
    assert dense.config.enable_bias
    assert torch.equal(logits(dense), logits(made.installed()))


def test_what_is_no_packed_model_is_not_exported(make, tmp_path):
    with pytest.raises(RadioError, match="is not a packed model"):
        write_dense(tmp_path / "dense", make("llama", "rtn").checkpoint, torch.float16)
    assert not list(tmp_path.iterdir())
