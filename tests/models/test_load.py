"""Loading refuses what is damaged, and names the parts of both architectures rightly."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from radio.models import (
    ModelSpec,
    decoder_linears,
    fetch_checkpoint,
    final_hidden,
    head,
    load_model,
    load_tokenizer,
)
from radio.models.load import count_parameters
from radio.models.weight_files import inspect_weights
from radio.runtime.errors import RadioError
from tests.tiny import tiny_llama, tiny_opt

Damage = Callable[[Callable[[Path], object]], Path]
PROJECTION = "model.layers.1.mlp.down_proj.weight"


def with_weights(change: Callable[[dict[str, Tensor]], object]) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        file = path / "model.safetensors"
        weights = load_file(file)
        change(weights)
        save_file(weights, file, metadata={"format": "pt"})

    return damage


def spoil(value: float) -> Callable[[dict[str, Tensor]], None]:
    def change(weights: dict[str, Tensor]) -> None:
        weights[PROJECTION][3, 5] = value

    return change


def truncate(path: Path) -> None:
    file = path / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-1000])


def test_loads_in_evaluation_mode_and_float32(llama: Path, opt: Path) -> None:
    for path in (llama, opt):
        model = load_model(path)
        assert not model.training
        assert {p.dtype for p in model.parameters()} == {torch.float32}
        assert load_model(path, torch.bfloat16).dtype == torch.bfloat16


def test_tokenizer_restores_its_text(llama: Path) -> None:
    tokenizer = load_tokenizer(llama)
    text = "The quick brown Füchse, 100 %."
    assert tokenizer.decode(tokenizer.encode(text, add_special_tokens=False)) == text


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_weight_that_is_not_finite_is_refused_by_name(value: float, damaged: Damage) -> None:
    path = damaged(with_weights(spoil(value)))
    for read in (load_model, inspect_weights):
        with pytest.raises(RadioError) as caught:
            read(path)
        assert f"1 NaN or infinite values in {PROJECTION}" in str(caught.value)


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (truncate, "model.safetensors is corrupt"),
        (lambda path: (path / "model.safetensors").unlink(), "has no weights"),
        (lambda path: (path / "config.json").unlink(), "it has no config.json"),
        (lambda path: (path / "config.json").write_text("{"), "config.json is corrupt"),
        (lambda path: (path / "config.json").write_text("[]"), "config.json is corrupt"),
        (with_weights(lambda w: w.pop(PROJECTION)), f"no usable values for {PROJECTION}"),
        (
            with_weights(lambda w: w.update({PROJECTION: torch.ones(2, 2)})),
            f"gives {PROJECTION} the shape [64, 128], and model.safetensors has [2, 2]",
        ),
    ],
)
def test_damage_is_one_sentence(
    damage: Callable[[Path], object], sentence: str, damaged: Damage
) -> None:
    with pytest.raises(RadioError) as caught:
        load_model(damaged(damage))
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


def test_other_architecture_is_refused(damaged: Damage) -> None:
    path = damaged(lambda path: (path / "config.json").write_text('{"model_type": "mamba"}'))
    with pytest.raises(RadioError, match="is a 'mamba' model: choose a checkpoint of opt or llama"):
        load_model(path)


def test_damaged_tokenizer_is_one_sentence(damaged: Damage) -> None:
    path = damaged(lambda path: (path / "tokenizer.json").write_text("{]"))
    with pytest.raises(RadioError, match="its tokenizer"):
        load_tokenizer(path)


def test_inspection_finds_truncation_and_absence(damaged: Damage, tmp_path: Path) -> None:
    with pytest.raises(RadioError, match=r"model\.safetensors is corrupt"):
        inspect_weights(damaged(truncate))
    with pytest.raises(RadioError, match="has no weights"):
        inspect_weights(tmp_path)


def test_inspection_reads_pickles(opt: Path, tmp_path: Path) -> None:
    weights = load_file(opt / "model.safetensors")
    torch.save(weights, tmp_path / "pytorch_model.bin")
    assert len(inspect_weights(tmp_path)) == 64
    next(iter(weights.values()))[0] = float("nan")
    torch.save(weights, tmp_path / "pytorch_model.bin")
    with pytest.raises(RadioError, match="NaN or infinite"):
        inspect_weights(tmp_path)


def test_hash_is_of_the_weights(llama: Path, damaged: Damage) -> None:
    other = damaged(with_weights(spoil(0.5)))
    assert inspect_weights(llama) != inspect_weights(other)


ATTENTION = ["q_proj", "k_proj", "v_proj"]
BLOCK = {
    "llama": [f"self_attn.{name}" for name in [*ATTENTION, "o_proj"]]
    + [f"mlp.{name}" for name in ["gate_proj", "up_proj", "down_proj"]],
    "opt": [f"self_attn.{name}" for name in [*ATTENTION, "out_proj"]] + ["fc1", "fc2"],
}


@pytest.mark.parametrize(
    ("family", "overrides"),
    [
        ("llama", {}),
        ("llama", {"tie_word_embeddings": False, "num_key_value_heads": 4}),
        ("llama", {"num_key_value_heads": 1, "num_hidden_layers": 3}),
        ("opt", {}),
        ("opt", {"tie_word_embeddings": False}),
        # as OPT-350M: narrow embedding with projections around the blocks, norms after
        ("opt", {"word_embed_proj_dim": 32, "do_layer_norm_before": False}),
    ],
)
def test_linears_head_and_final_hidden(
    family: str, overrides: dict[str, object], tmp_path: Path
) -> None:
    make = {"llama": tiny_llama, "opt": tiny_opt}[family]
    path = make(tmp_path / family, **overrides)
    model = load_model(path)
    linears = decoder_linears(model)
    prefix = {"llama": "model.layers", "opt": "model.decoder.layers"}[family]
    layers = model.config.num_hidden_layers
    expected = {f"{prefix}.{index}.{name}" for index in range(layers) for name in BLOCK[family]}
    assert set(linears) == expected
    assert all(model.get_submodule(name) is layer for name, layer in linears.items())
    blocks = [int(name.removeprefix(prefix).split(".")[1]) for name in linears]
    assert blocks == sorted(blocks)

    ids = torch.randint(2, 300, (2, 17), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        hidden = final_hidden(model, ids)
        torch.testing.assert_close(
            hidden @ head(model).weight.T, model(input_ids=ids).logits, rtol=0, atol=1e-6
        )
    assert hidden.shape == (2, 17, overrides.get("word_embed_proj_dim", 64))
    assert count_parameters(path) == sum(p.numel() for p in model.parameters())


def test_gradients_flow_from_final_hidden_to_every_linear(opt: Path) -> None:
    model = load_model(opt)
    final_hidden(model, torch.arange(2, 20)[None]).square().sum().backward()
    for name, layer in decoder_linears(model).items():
        assert layer.weight.grad is not None and bool(layer.weight.grad.any()), name


def spec(**overrides: object) -> ModelSpec:
    plain = {"name": "x", "label": "x", "family": "llama", "path": None, "source": None}
    plain |= {"group_rows": 64, "calibration_data": "wikipedia"}
    return ModelSpec.from_config({**plain, **overrides})


def test_locate_prefers_the_local_path(llama: Path) -> None:
    hub = {"kind": "hub", "repo_id": "a/b", "revision": "0" * 40}
    assert fetch_checkpoint(spec(path=str(llama), source=hub)) == llama
    assert fetch_checkpoint(spec(path=str(llama), family=None)) == llama


@pytest.mark.parametrize(
    ("path", "sentence"),
    [("absent", "absent is not a directory"), ("", "it has no config.json")],
)
def test_locate_refuses_what_is_no_checkpoint(path: str, sentence: str, tmp_path: Path) -> None:
    with pytest.raises(RadioError, match=sentence):
        fetch_checkpoint(spec(path=str(tmp_path / path)))


def test_locate_refuses_another_family(opt: Path) -> None:
    with pytest.raises(RadioError, match="is of family 'opt', but model 'x' says 'llama'"):
        fetch_checkpoint(spec(path=str(opt)))


def test_locate_needs_training_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RADIO_RESULTS", str(tmp_path))
    nano = {"kind": "trained", "vocabulary": 300, "layers": 1, "width": 16, "ffn": 16, "heads": 1}
    nano |= {"context": 8, "dropout": 0.0, "batch": 1, "steps": 1, "warmup": 1, "seed": 0}
    nano |= {"learning_rate": 1e-3, "weight_decay": 0.0, "validate_every": 1}
    with pytest.raises(RadioError, match=r"x is not made yet .*run `radio prepare model=x out="):
        fetch_checkpoint(spec(source=nano))
    tiny_llama(tmp_path / "x" / "checkpoint")
    assert fetch_checkpoint(spec(source=nano)) == tmp_path / "x" / "checkpoint"
    assert json.loads((tmp_path / "x" / "checkpoint" / "config.json").read_text())
