"""Miniatures have the traits of the models they stand for, and the same weights every time."""

from pathlib import Path

import pytest
import torch

from radio.models import ModelSpec, decoder_linears, load_model, load_tokenizer
from radio.models.random_weights import make_random_model
from radio.models.spec import RandomSource
from radio.runtime.compose import compose_step
from radio.runtime.errors import RadioError


def made(name: str, folder: Path) -> Path:
    spec = ModelSpec.from_config(compose_step("prepare", [f"model={name}", "out=x"]).model)
    assert isinstance(spec.source, RandomSource) and spec.revision == "random"
    make_random_model(spec.source, str(spec.family), folder / name)
    return folder / name


def test_traits(tmp_path: Path) -> None:
    opt, post, llama = (
        load_model(made(name, tmp_path)) for name in ("smoke-opt", "smoke-opt-350m", "smoke-llama2")
    )
    assert opt.config.do_layer_norm_before and opt.model.decoder.project_in is None
    assert not post.config.do_layer_norm_before
    assert post.model.decoder.project_in.weight.shape == (256, 128)
    assert decoder_linears(llama)["model.layers.0.self_attn.k_proj"].out_features == 128
    assert decoder_linears(llama)["model.layers.0.self_attn.q_proj"].out_features == 256
    assert opt.model.decoder.layers[0].fc1.bias.abs().min() > 0


def test_the_same_weights_every_time_and_a_tokenizer_for_any_text(tmp_path: Path) -> None:
    first, second = (load_model(made("smoke-opt", tmp_path / name)) for name in "ab")
    for one, other in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(one, other)
    tokenizer = load_tokenizer(tmp_path / "a" / "smoke-opt")
    text = "Ein Würfel, 2³ – ok"
    assert tokenizer.decode(tokenizer(text, add_special_tokens=False)["input_ids"]) == text
    assert len(tokenizer) == first.config.vocab_size


def test_settings_that_make_no_model(tmp_path: Path) -> None:
    settings = {"hidden_size": 64, "num_attention_heads": 5}
    with pytest.raises(RadioError, match="make no opt model"):
        make_random_model(RandomSource(0, settings), "opt", tmp_path / "x")
    assert not (tmp_path / "x").exists()
