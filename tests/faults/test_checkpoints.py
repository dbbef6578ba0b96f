"""Checkpoints that are damaged, edited, quantized already or of an old format.

Each is refused in one sentence before anything of its size is allocated, or read as transformers
reads it.
"""

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import AutoModelForCausalLM

from radio.cli import main
from radio.models import (
    StreamedModel,
    final_hidden,
    final_states,
    head_of,
    load_model,
    load_tokenizer,
)
from radio.models.check import check_checkpoint
from radio.models.config import check_context, check_ids
from radio.models.weight_files import inspect_weights
from radio.resources.model_shape import Geometry
from radio.runtime.errors import RadioError
from tests.faults.chain import chain, run
from tests.faults.edits import edits
from tests.tiny import SHAPES, tiny_llama, tiny_opt

LINEAR = "model.layers.1.mlp.down_proj.weight"
EMBEDDING, HEAD = "model.embed_tokens.weight", "lm_head.weight"
IDS = torch.arange(2, 34).view(2, 16)

Tensors = dict[str, Tensor]


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_llama(tmp_path_factory.mktemp("checkpoints") / "llama")


@pytest.fixture
def copied(llama: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(llama, tmp_path / "copy"))


def edit_config(path: Path, **changes: object) -> None:
    file = path / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))


def edit_weights(path: Path, change: Callable[[Tensors], object]) -> None:
    weights = load_file(path / "model.safetensors")
    change(weights)
    save_file(weights, path / "model.safetensors", metadata={"format": "pt"})


def refused(path: Path) -> str:
    """The sentence that all ways to open a checkpoint give."""
    sentences = set()
    for opened in (check_checkpoint, load_model, Geometry.of_checkpoint, _streamed):
        with pytest.raises(RadioError) as caught:
            opened(path)
        sentences.add(str(caught.value))
    (sentence,) = sentences
    assert "\n" not in sentence
    return sentence


def _streamed(path: Path) -> StreamedModel:
    return StreamedModel(path, torch.float32)


# the model and its head


def logits(model: object) -> Tensor:
    states = torch.stack(list(final_states(model, IDS, "test")))  # type: ignore[arg-type]
    return head_of(model)(states)  # type: ignore[arg-type]


def same_as_transformers(path: Path) -> None:
    """Both ways to hold a model give the logits of transformers."""
    expected = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32)
    with torch.no_grad():
        of_transformers = expected.lm_head(final_hidden(expected, IDS))
        for model in (load_model(path), _streamed(path)):
            torch.testing.assert_close(logits(model), of_transformers, rtol=0, atol=1e-5)


def test_a_tied_head_that_is_another_matrix_stays_one(copied: Path) -> None:
    edit_weights(copied, lambda w: w.update({HEAD: torch.randn_like(w[EMBEDDING])}))
    same_as_transformers(copied)


def test_a_tied_head_that_is_stored_as_a_copy_is_shared(copied: Path) -> None:
    edit_weights(copied, lambda w: w.update({HEAD: w[EMBEDDING].clone()}))
    same_as_transformers(copied)
    model = _streamed(copied).model
    assert model.get_output_embeddings().weight is model.get_input_embeddings().weight


def test_a_shared_matrix_may_be_stored_as_the_head(copied: Path) -> None:
    edit_weights(copied, lambda w: w.update({HEAD: w.pop(EMBEDDING)}))
    same_as_transformers(copied)


def test_neither_name_of_a_shared_matrix(copied: Path) -> None:
    edit_weights(copied, lambda w: w.pop(EMBEDDING))
    assert f"no usable values for {EMBEDDING}" in refused(copied)


@pytest.mark.parametrize("shape", SHAPES)
def test_every_shape_of_model_passes(shape: str, tmp_path: Path) -> None:
    make, settings = SHAPES[shape]
    path = make(tmp_path / "model", **settings)
    check_checkpoint(path)
    edit_weights(path, _of_the_decoder_alone)
    same_as_transformers(path)


def _of_the_decoder_alone(weights: Tensors) -> None:
    for name in list(weights):
        weights[name.removeprefix("model.")] = weights.pop(name)


# weights that are codes

QUANTIZED = {
    "fp8": lambda w: w.update({LINEAR: w[LINEAR].to(torch.float8_e4m3fn)}),
    "int8": lambda w: w.update({LINEAR: w[LINEAR].to(torch.int8)}),
    "gptq": lambda w: w.update({LINEAR.replace("weight", "qweight"): w.pop(LINEAR).int()}),
    "compressed": lambda w: w.update({f"{LINEAR}_packed": w.pop(LINEAR).int()}),
    "bitsandbytes": lambda w: w.update({LINEAR: w[LINEAR].view(-1, 1).to(torch.uint8)}),
}


@pytest.mark.parametrize("kind", QUANTIZED)
def test_codes_are_told_by_their_form(kind: str, copied: Path) -> None:
    edit_weights(copied, QUANTIZED[kind])
    assert "is quantized already" in refused(copied)


@pytest.mark.parametrize(
    "settings",
    [
        {"quant_method": "fp8", "weight_block_size": [128, 128]},
        {"quant_method": "gptq", "bits": 4},
        {"quant_method": "awq"},
        {"quant_method": "bitsandbytes", "load_in_4bit": True},
        {"quant_method": "compressed-tensors"},
        {"quant_method": "radio", "format_version": 3},
        {},
        "fp8",
    ],
    ids=str,
)
def test_a_quantization_config_is_refused(settings: object, copied: Path, capsys) -> None:
    edit_config(copied, quantization_config=settings)
    assert "is quantized already (quantization_config in its config.json" in refused(copied)
    out = copied.parent / "made" / "model.json"
    assert main(["prepare", "model=local", f"model.path={copied}", f"out={out}"]) == 2
    assert "is quantized already" in capsys.readouterr().err
    assert not out.exists()


def test_a_directory_of_gguf_files(tmp_path: Path) -> None:
    (tmp_path / "model.Q4_K_M.gguf").touch()
    assert "is quantized already (it holds GGUF files)" in refused(tmp_path)


# formats of weight files


def pickled(path: Path, zipped: bool, parts: int = 1) -> None:
    weights = load_file(path / "model.safetensors")
    (path / "model.safetensors").unlink()
    if parts == 1:
        torch.save(weights, path / "pytorch_model.bin", _use_new_zipfile_serialization=zipped)
        return
    places = {}
    for part in range(parts):
        file = f"pytorch_model-{part + 1:05}-of-{parts:05}.bin"
        mine = dict(list(weights.items())[part::parts])
        torch.save(mine, path / file, _use_new_zipfile_serialization=zipped)
        places |= dict.fromkeys(mine, file)
    index = {"metadata": {}, "weight_map": places}
    (path / "pytorch_model.bin.index.json").write_text(json.dumps(index))


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "before torch 1.6"])
@pytest.mark.parametrize("parts", [1, 2])
def test_pickles_are_read(zipped: bool, parts: int, copied: Path) -> None:
    pickled(copied, zipped, parts)
    same_as_transformers(copied)
    assert len(inspect_weights(copied)) == 64


class Planted:
    """A pickle of this leaves a file behind, if it is run."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.mark,)


def test_code_in_a_pickle_is_not_run(copied: Path, tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    (copied / "model.safetensors").unlink()
    torch.save({"weight": Planted(mark)}, copied / "pytorch_model.bin")
    assert "pytorch_model.bin is corrupt" in refused(copied)
    assert not mark.exists()


def test_a_pickle_of_other_things_than_tensors(copied: Path) -> None:
    (copied / "model.safetensors").unlink()
    torch.save({"epoch": 3}, copied / "pytorch_model.bin")
    assert "other things than tensors" in refused(copied)


@pytest.mark.parametrize(
    "index, sentence",
    [
        ({"weight_map": {"a": "../elsewhere.safetensors"}}, "not a file in its directory"),
        ({"weight_map": {"a": "/etc/passwd"}}, "not a file in its directory"),
        ({"weight_map": {"a": "absent.safetensors"}}, "not a file in its directory"),
        ({"weight_map": {}}, "names no file"),
        ({"weight_map": 3}, "is corrupt"),
        ({"weight_map": {"a": None}}, "is corrupt"),
        ({}, "is corrupt"),
        ([], "is corrupt"),
    ],
    ids=str,
)
def test_an_index_that_names_no_parts(index: object, sentence: str, copied: Path) -> None:
    shutil.move(copied / "model.safetensors", copied.parent / "elsewhere.safetensors")
    (copied / "model.safetensors.index.json").write_text(json.dumps(index))
    assert sentence in refused(copied)


# tensors


def test_a_bias_without_a_place_is_refused(copied: Path) -> None:
    """transformers leaves it out and warns: the model would be another one."""
    edit_weights(copied, lambda w: w.update({LINEAR.replace("weight", "bias"): torch.ones(64)}))
    assert "mlp.down_proj.bias, which the model of config.json has no place for" in refused(copied)


@pytest.mark.parametrize(
    "name",
    [
        "model.layers.0.self_attn.rotary_emb.inv_freq",  # as in Llama-2
        "score.weight",
    ],
)
def test_tensors_that_change_nothing_are_left_out(name: str, copied: Path) -> None:
    edit_weights(copied, lambda w: w.update({name: torch.ones(8)}))
    same_as_transformers(copied)


@pytest.mark.parametrize("kind", ["matrix", "all"])
def test_a_matrix_of_zeros_is_refused(kind: str, copied: Path) -> None:
    names = [LINEAR] if kind == "matrix" else list(load_file(copied / "model.safetensors"))
    edit_weights(copied, lambda w: [w[name].zero_() for name in names])
    with pytest.raises(RadioError, match=r"all values of .* are zero"):
        inspect_weights(copied)


def test_rows_and_columns_of_zeros_are_quantized(copied: Path) -> None:
    def prune(weights: Tensors) -> None:
        weights[LINEAR][:20] = 0
        weights[LINEAR][:, 5:40] = 0

    edit_weights(copied, prune)
    inspect_weights(copied)
    assert chain(copied, copied.parent / "made")["perplexity"] < 1000


# the values of config.json


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"hidden_size": 1_000_000}, ["config.json", "shape"]),
        ({"vocab_size": 10**12}, ["config.json", "vocab_size"]),
        ({"vocab_size": 2 * 10**9}, ["config.json", EMBEDDING, "shape"]),
        ({"num_hidden_layers": 10**9}, ["config.json", "num_hidden_layers=1000000000", "2 blocks"]),
        ({"num_hidden_layers": 0}, ["config.json", "num_hidden_layers=0"]),
        ({"num_hidden_layers": 1}, ["config.json", "num_hidden_layers=1", "2 blocks"]),
        ({"num_attention_heads": 5}, ["config.json", "heads"]),
        ({"num_attention_heads": 0}, ["config.json"]),
        ({"num_key_value_heads": 3}, ["config.json", "num_key_value_heads=3", "divide 4"]),
        ({"num_key_value_heads": 4}, ["config.json", "k_proj", "shape"]),
        ({"head_dim": 10**9}, ["config.json", "shape"]),
        ({"intermediate_size": -1}, ["config.json", "intermediate_size=-1"]),
        ({"max_position_embeddings": 0}, ["config.json", "max_position_embeddings=0"]),
        ({"hidden_act": "nonsense"}, ["config.json", "hidden_act=nonsense"]),
        ({"hidden_size": "64"}, ["config.json", "hidden_size"]),
        ({"hidden_size": None}, ["config.json", "hidden_size"]),
        ({"rms_norm_eps": -1e-6}, ["config.json", "rms_norm_eps=-1e-06"]),
        ({"dtype": "int8"}, ["config.json", "dtype"]),
        ({"dtype": 3}, ["config.json", "dtype"]),
        ({"architectures": ["LlamaForSequenceClassification"]}, ["architectures"]),
        ({"architectures": "llama"}, ["architectures"]),
        ({"rope_parameters": {"rope_type": "default", "rope_theta": 0}}, ["config.json", "rope"]),
        ({"rope_parameters": {"rope_type": "magic", "rope_theta": 1e4}}, ["config.json"]),
        ({"rope_parameters": {"rope_type": "default", "rope_theta": -5.0}}, ["rope"]),
        ({"attn_implementation": "someone/kernel"}, ["config.json", "attn_implementation"]),
        ({"_attn_implementation": "someone/kernel"}, ["config.json", "_attn_implementation"]),
        ({"transformers_weights": "other.safetensors"}, ["config.json", "transformers_weights"]),
        ({"tie_word_embeddings": False}, [HEAD]),
        ({"model_type": "opt"}, ["architectures", "OPTForCausalLM"]),
        ({"model_type": None}, ["None"]),
        ({"model_type": ["llama"]}, ["llama"]),
    ],
    ids=lambda each: str(each) if isinstance(each, dict) else None,
)
def test_values_that_do_not_fit(changes: dict[str, object], words: list[str], copied: Path) -> None:
    edit_config(copied, **changes)
    sentence = refused(copied)
    assert all(word in sentence for word in words), sentence


@pytest.mark.parametrize("text", ["", "[1]", "[" * 100_000, '{"rms_norm_eps": NaN}', "\x00"])
def test_files_that_hold_no_configuration(text: str, copied: Path) -> None:
    (copied / "config.json").write_text(text)
    assert "config.json is corrupt" in refused(copied)


def test_a_byte_order_mark_is_no_damage(copied: Path) -> None:
    """transformers cannot read it, so it is refused too, in a sentence."""
    file = copied / "config.json"
    file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes())
    assert "config.json" in refused(copied)


@pytest.mark.parametrize("make", [tiny_llama, tiny_opt])
def test_contexts_longer_than_the_positions(make: Callable[..., Path], tmp_path: Path) -> None:
    path = make(tmp_path / "model", max_position_embeddings=32)
    check_context(path, 32, "data.context_tokens")
    with pytest.raises(RadioError, match=r"data\.context_tokens=33 exceeds the 32 positions"):
        check_context(path, 33, "data.context_tokens")


def test_ids_without_an_embedding(llama: Path) -> None:
    check_ids(llama, torch.tensor([[0, 299]]))
    with pytest.raises(RadioError, match="gives the id 300, and the model has embeddings for 300"):
        check_ids(llama, torch.tensor([[0, 300]]))


def test_a_sample_of_all_edits_is_refused_in_a_sentence_or_changes_nothing(
    llama: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`radio prepare` refuses an edit of a JSON file, or the model runs and gives finite logits."""
    outcomes = set()
    for number, edit in enumerate(random.Random(0).sample(edits(llama), 15)):
        path = Path(shutil.copytree(llama, tmp_path / f"{number}" / "model"))
        edit.apply(path)
        status = run("prepare", path, path.parent)
        outcomes.add(status)
        if status == 2:
            said = [line for line in capsys.readouterr().err.splitlines() if "radio: e" in line]
            assert len(said) == 1, edit.name
            continue
        assert status == 0, edit.name
        assert logits(load_model(path)).isfinite().all(), edit.name
        assert load_tokenizer(path)("a river")["input_ids"], edit.name
    assert outcomes == {0, 2}


def test_no_call_of_the_model_is_changed_by_its_configuration(llama: Path, copied: Path) -> None:
    edit_config(copied, return_dict=False, output_hidden_states=True, use_cache=False)
    assert torch.equal(logits(load_model(copied)), logits(load_model(llama)))
    assert torch.equal(logits(_streamed(copied)), logits(_streamed(llama)))
