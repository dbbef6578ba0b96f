"""Tokenizers reach the packed and the exported directory byte for byte, and code never does."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from radio.models import load_model
from radio.pack.hf.directory import write_dense
from radio.pack.hf.tokenizer_files import copy_tokenizer_files
from radio.runtime.errors import RadioError
from tests.pack.hf.conftest import pack
from tests.pack.test_file import quantized_by
from tests.tiny import CORPUS, tiny_llama

PLANTED = "open({!r}, 'w')\nclass Planted: pass\n"


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    return tiny_llama(tmp_path / "checkpoint", num_hidden_layers=1)


def with_sentencepiece(checkpoint: Path) -> None:
    """Give a checkpoint a tokenizer.model and no tokenizer.json, as Llama-2 had at first."""
    import sentencepiece

    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(CORPUS),
        model_prefix=str(checkpoint / "tokenizer"),
        vocab_size=290,
        model_type="bpe",
        byte_fallback=True,
        hard_vocab_limit=False,
        minloglevel=2,
    )
    for name in ("tokenizer.json", "tokenizer.vocab"):
        (checkpoint / name).unlink()
    settings = {
        "tokenizer_class": "LlamaTokenizer",
        "bos_token": "<s>",
        "eos_token": "</s>",
        "unk_token": "<unk>",
        "add_bos_token": True,
        "legacy": False,
    }
    (checkpoint / "tokenizer_config.json").write_text(json.dumps(settings))


def test_a_sentencepiece_tokenizer_stays_what_it_is(checkpoint, tmp_path):
    with_sentencepiece(checkpoint)
    (checkpoint / "chat_template.jinja").write_text("{{ messages }}")
    (checkpoint / "additional_chat_templates").mkdir()
    (checkpoint / "additional_chat_templates" / "tool.jinja").write_text("{{ tools }}")
    made = pack(tmp_path, checkpoint, quantized_by(load_model(checkpoint), "rtn"))
    write_dense(tmp_path / "dense", made.packed, torch.float16)
    names = ("tokenizer.model", "tokenizer_config.json", "chat_template.jinja")
    for name in (*names, "additional_chat_templates/tool.jinja", "generation_config.json"):
        whole = (checkpoint / name).read_bytes()
        assert (made.packed / name).read_bytes() == whole
        assert (tmp_path / "dense" / name).read_bytes() == whole
    folders = (checkpoint, made.packed, tmp_path / "dense")
    ids = [AutoTokenizer.from_pretrained(each)("The quick fox").input_ids for each in folders]
    assert ids[0] == ids[1] == ids[2]


def test_code_is_neither_copied_nor_run(checkpoint, tmp_path):
    """Of the tokenizer, of the configuration, of the model, and of generation."""
    ran = tmp_path / "ran"
    classes = {"AutoTokenizer": ["planted.Planted", None], "AutoConfig": "planted.Planted"}
    classes |= {"AutoModelForCausalLM": "planted.Planted"}
    (checkpoint / "planted.py").write_text(PLANTED.format(str(ran)))
    (checkpoint / "custom_generate").mkdir()
    (checkpoint / "custom_generate" / "generate.py").write_text(PLANTED.format(str(ran)))
    for name in ("config.json", "tokenizer_config.json", "generation_config.json"):
        content = json.loads((checkpoint / name).read_text())
        (checkpoint / name).write_text(json.dumps(content | {"auto_map": classes}))
    made = pack(tmp_path, checkpoint, quantized_by(load_model(checkpoint), "rtn"))
    write_dense(tmp_path / "dense", made.packed, torch.float16)
    for folder in (made.packed, tmp_path / "dense"):
        assert not list(folder.rglob("*.py"))
        assert not any("auto_map" in file.read_text() for file in folder.glob("*config.json"))
    assert not ran.exists()


@pytest.mark.parametrize("name", ["generation_config.json", "tokenizer.json"])
def test_a_link_out_of_the_checkpoint_is_refused(checkpoint, tmp_path, name):
    secret = tmp_path / "secret.json"
    (checkpoint / name).rename(secret)
    (checkpoint / name).symlink_to(secret)
    (tmp_path / "out").mkdir()
    with pytest.raises(RadioError, match=f"{name} is a link to .*secret.json, outside the check"):
        copy_tokenizer_files(checkpoint, tmp_path / "out")
    assert not (tmp_path / "out" / name).exists()


def test_links_of_the_hubs_cache_are_followed(checkpoint, tmp_path):
    snapshot, blobs = tmp_path / "models--x" / "snapshots" / "0", tmp_path / "models--x" / "blobs"
    for folder in (snapshot, blobs, tmp_path / "out"):
        folder.mkdir(parents=True)
    for file in checkpoint.iterdir():
        file.rename(blobs / file.name)
        (snapshot / file.name).symlink_to(blobs / file.name)
    copy_tokenizer_files(snapshot, tmp_path / "out")
    whole = (blobs / "tokenizer.json").read_bytes()
    assert (tmp_path / "out" / "tokenizer.json").read_bytes() == whole
    assert not (tmp_path / "out" / "tokenizer.json").is_symlink()


def test_a_damaged_generation_config_is_refused(checkpoint, tmp_path):
    (checkpoint / "generation_config.json").write_text("{")
    (tmp_path / "out").mkdir()
    with pytest.raises(RadioError, match=r"generation_config\.json is not valid JSON"):
        copy_tokenizer_files(checkpoint, tmp_path / "out")


@pytest.mark.filterwarnings("ignore:The tied weights")
def test_a_head_of_its_own_in_a_tied_checkpoint_is_packed(checkpoint, tmp_path):
    """config.json says tied, and the file has another head, which transformers keeps."""
    weights = load_file(checkpoint / "model.safetensors")
    weights["lm_head.weight"] = 0.15 * torch.randn_like(weights["model.embed_tokens.weight"])
    save_file(weights, checkpoint / "model.safetensors", metadata={"format": "pt"})
    made = pack(tmp_path, checkpoint, quantized_by(load_model(checkpoint), "rtn"))
    write_dense(tmp_path / "dense", made.packed, torch.float32)
    ids = torch.arange(20)[None] + 5
    with torch.no_grad():
        expected = made.installed()(input_ids=ids).logits
        for folder in (made.packed, tmp_path / "dense"):
            loaded = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
            assert torch.equal(loaded(input_ids=ids).logits, expected)
