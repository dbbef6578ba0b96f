from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from omegaconf import OmegaConf

from radio.data import load_text, load_token_sequences
from radio.runtime.compose import compose_step
from radio.runtime.errors import RadioError
from radio.runtime.files import read_json, write_json
from radio.steps import tokenize
from tests.data.fake_texts import CONFIG, document
from tests.tiny import tiny_llama


def spec(path, **changes):
    return OmegaConf.merge(OmegaConf.load(CONFIG / "local.yaml"), {"path": str(path)}, changes)


@pytest.fixture
def file(tmp_path):
    """Twenty documents of 300 characters, one with a line break inside."""
    path = tmp_path / "mine.txt"
    path.write_text(
        "\n \n\n".join(f"{index:04d}\n{document(index, 295)}" for index in range(20)) + "\n"
    )
    return path


def test_beginning_calibrates_middle_validates_end_tests(file):
    documents = instantiate(spec(file)).documents()
    numbers = {split: [int(text[:4]) for text in texts] for split, texts in documents.items()}
    assert numbers == {
        "calibration": list(range(14)),
        "validation": [14, 15, 16],
        "test": [17, 18, 19],
    }


def test_a_document_goes_where_its_middle_falls(tmp_path):
    path = tmp_path / "uneven.txt"
    path.write_text(
        "\n\n".join(letter * length for letter, length in zip("abc", (70, 20, 10), strict=True))
    )
    documents = instantiate(spec(path)).documents()
    assert [text[0][0] for text in documents.values()] == ["a", "b", "c"]


def test_blocks_of_a_local_text(file, plain):
    splits = load_text(spec(file, context_tokens=100, blocks={"calibration": 5}), plain)
    assert [tuple(blocks.ids.shape) for blocks in splits.values()] == [(5, 100), (9, 100), (9, 100)]
    assert splits["test"].protocol == r"local-test/100x9/all/bos=none/join=\n\n"


def test_bad_local_texts_are_told(file, tmp_path, plain):
    with pytest.raises(RadioError, match=r"data\.path=.*no\.txt cannot be read .* in UTF-8"):
        load_text(spec(tmp_path / "no.txt"), plain)
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(RadioError, match="cannot be read"):
        load_text(spec(file), plain)
    file.write_text("\n\n".join(["short"] * 20))
    with pytest.raises(
        RadioError, match=r"data=local split .* fewer than one block of data.context_tok"
    ):
        load_text(spec(file), plain)
    file.write_text("\n\n".join(["the same again " * 20] * 20))
    with pytest.raises(RadioError, match=r"of local share .* remove the repeated text"):
        load_text(spec(file), plain)


def options():
    return sorted(path.stem for path in CONFIG.glob("*.yaml"))


@pytest.mark.parametrize("name", options())
def test_every_text_composes_and_builds(name):
    with initialize_config_dir(config_dir=str(CONFIG.parent), version_base="1.3"):
        cfg = compose("tokenize", [f"data={name}", "out=x", *["data.path=y"] * (name == "local")])
    text = instantiate(cfg.data)
    assert text.name == cfg.data.name == name
    assert set(text.blocks) == {"calibration", "validation", "test"}


def test_step_writes_tokens_and_manifest(file, tmp_path):
    tiny_llama(tmp_path / "model")
    write_json(tmp_path / "model.json", {"measured": {"path": str(tmp_path / "model")}})
    out = tmp_path / "tokens" / "local.safetensors"
    overrides = [
        "data=local",
        f"data.path={file}",
        "data.context_tokens=50",
        f"artifacts.model={tmp_path / 'model.json'}",
        f"out={out}",
        "wandb.mode=disabled",
    ]
    with initialize_config_dir(config_dir=str(CONFIG.parent), version_base="1.3"):
        tokenize.run(compose("tokenize", overrides))
    measured = read_json(out.with_suffix(".json"))["measured"]
    for split in ("calibration", "validation", "test"):
        blocks = load_token_sequences(out, split)
        assert measured[split] == {
            "protocol": blocks.protocol,
            "sha256": blocks.sha256,
            "tokens": blocks.ids.numel(),
            "documents": len(blocks.documents),
        }
    assert sorted(path.name for path in out.parent.iterdir()) == ["local.json", out.name]


def test_the_packaged_text_is_found_from_anywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    text = instantiate(compose_step("tokenize", ["data=smoke", "out=x"]).data)
    splits = text.documents()
    assert [len(splits[name]) for name in ("calibration", "validation", "test")] == [6, 2, 1]
    assert splits["calibration"][0].startswith("Shall I compare thee")
