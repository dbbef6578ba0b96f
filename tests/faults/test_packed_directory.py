"""A packed directory whose files were edited, swapped or lost is refused, or gives equal logits."""

import json
import random
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from radio.cli import main
from radio.models import load_model
from radio.pack.hf.directory import write_dense
from radio.pack.hf.integrity import read_checked_manifest
from radio.runtime.errors import RadioError
from tests.faults.test_packed_file import VALUES, nodes
from tests.pack.hf.conftest import Made, make, pack  # noqa: F401 (a fixture)
from tests.pack.test_file import quantized_by
from tests.tiny import tiny_llama

IDS = torch.randint(2, 300, (1, 20), generator=torch.Generator().manual_seed(1))
JSON = ("config.json", "generation_config.json", "manifest.json", "tokenizer_config.json")
# of a process that knows nothing of radio, as where it is not installed
STOCK = """
import sys, json
sys.modules["radio"] = None
import torch, transformers
ids = torch.tensor(json.loads(sys.argv[1]))
for path in sys.argv[2:]:
    for name in ("AutoModelForCausalLM", "AutoModel", "AutoModelForSequenceClassification"):
        try:
            model = getattr(transformers, name).from_pretrained(path, dtype=torch.float32)
            print(json.dumps(model(ids)[0].tolist()))
        except Exception as error:
            print(json.dumps(type(error).__name__))
"""


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """A packed Llama of one block."""
    folder = tmp_path_factory.mktemp("small")
    checkpoint = tiny_llama(folder / "checkpoint", num_hidden_layers=1)
    return pack(folder, checkpoint, quantized_by(load_model(checkpoint), "radio"))


@pytest.fixture
def copy(small: Made, tmp_path: Path) -> Path:
    """A copy of its directory, to be damaged."""
    return Path(shutil.copytree(small.packed, tmp_path / "copy"))


@torch.no_grad()
def logits(path: Path) -> torch.Tensor:
    model = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32)
    return model(input_ids=IDS[:, :20]).logits


def edited(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def outcome(path: Path, expected: torch.Tensor) -> str:
    """Return "refused" by radio or by transformers, or "identical"."""
    try:
        found = logits(path)
    except RadioError:
        return "refused by radio"
    except Exception as error:  # transformers reads config.json first, and its errors share no base
        return f"refused by transformers: {type(error).__name__}"
    assert torch.equal(found, expected)
    return "identical"


def drawn_edit(file: Path, draw: random.Random) -> None:
    """Delete, or give another value to, a value anywhere in a JSON file."""
    content = json.loads(file.read_text())
    holder, key = draw.choice(list(nodes(content)))
    if draw.random() < 0.3:
        del holder[key]
    else:
        holder[key] = draw.choice([*VALUES, "gptq", "awq", "fp8", "bitsandbytes"])
    file.write_text(json.dumps(content))


@pytest.mark.parametrize("name", JSON)
def test_an_edited_json_file_is_refused_or_gives_equal_logits(small, copy, name):
    draw, expected, whole = random.Random(name), logits(small.packed), (copy / name).read_bytes()
    for _ in range(15):
        (copy / name).write_bytes(whole)
        drawn_edit(copy / name, draw)
        outcome(copy, expected)


@pytest.mark.parametrize(
    "field, value",
    [
        ("rms_norm_eps", 1e-2),
        ("rope_parameters", {"rope_theta": 50.0, "rope_type": "default"}),
        ("num_attention_heads", 8),
        ("num_key_value_heads", 4),
        ("num_hidden_layers", 1_000_000),
        ("hidden_size", 1_000_000),
        ("max_position_embeddings", 8),
        ("tie_word_embeddings", False),
        ("hidden_act", "relu"),
    ],
)
def test_an_edited_configuration_is_named(copy, field, value, tmp_path):
    """Before a model is built from it, so that it costs no memory."""
    edited(copy / "config.json", **{field: value})
    with pytest.raises(RadioError, match=r"config\.json is not as radio wrote it"):
        logits(copy)
    with pytest.raises(RadioError, match=r"config\.json is not as radio wrote it"):
        write_dense(tmp_path / "dense", copy, torch.float16)
    assert main(["export", str(copy), f"out={tmp_path / 'dense'}"]) == 2
    assert not (tmp_path / "dense").exists()


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A packed model of the same architecture and layout, of other weights."""
    folder = tmp_path_factory.mktemp("other")
    checkpoint = tiny_llama(folder / "checkpoint", num_hidden_layers=1, rms_norm_eps=1e-5)
    weights = load_file(checkpoint / "model.safetensors")
    changed = {name: 0.9 * tensor for name, tensor in weights.items()}
    save_file(changed, checkpoint / "model.safetensors", metadata={"format": "pt"})
    return pack(folder, checkpoint, quantized_by(load_model(checkpoint), "radio")).packed


@pytest.mark.parametrize(
    "names",
    [
        ("model.safetensors",),
        ("config.json",),
        ("manifest.json",),
        ("model.safetensors", "config.json"),
        ("config.json", "manifest.json"),
        ("model.safetensors", "manifest.json"),
    ],
    ids=str,
)
def test_files_of_another_directory_are_refused(copy, other, names):
    for name in names:
        shutil.copyfile(other / name, copy / name)
    with pytest.raises(RadioError, match="is not as radio wrote it"):
        logits(copy)


@pytest.mark.parametrize(
    "name",
    [
        "manifest.json",
        "model.safetensors",
        "tokenizer.json",
        "generation_config.json",
        "tokenizer_config.json",
    ],
)
def test_a_lost_file_is_named(copy, name):
    (copy / name).unlink()
    with pytest.raises(RadioError, match=f"has no {name}|{name} is not as radio wrote it"):
        read_checked_manifest(copy)
    with pytest.raises((RadioError, OSError)):
        logits(copy)


@pytest.mark.parametrize(
    "name",
    [
        "adapter_config.json",
        "chat_template.jinja",
        "added_tokens.json",
        "model.safetensors.index.json",
        "pytorch_model.bin",
        "additional_chat_templates/tool.jinja",
    ],
)
def test_a_file_that_loaders_would_read_is_named(copy, name):
    (copy / name).parent.mkdir(exist_ok=True)
    (copy / name).write_text("{}")
    with pytest.raises(RadioError, match=rf"{name} is not as radio wrote it \(manifest\.json does"):
        read_checked_manifest(copy)


def test_copies_load(small, copy, tmp_path):
    """With the files that git and hubs add, other times, and links as in the hub's cache."""
    for name in ("README.md", ".gitattributes", ".git/config", ".cache/huggingface/a.json"):
        (copy / name).parent.mkdir(exist_ok=True, parents=True)
        (copy / name).write_text("{}")
    assert torch.equal(logits(copy), logits(small.packed))
    cache = tmp_path / "models--x" / "snapshots" / "0"
    cache.mkdir(parents=True)
    for file in small.packed.iterdir():
        (cache / file.name).symlink_to(file)
    assert torch.equal(logits(cache), logits(small.packed))


def test_byte_counts_are_checked(copy):
    manifest = json.loads((copy / "manifest.json").read_text())
    edited(copy / "manifest.json", size_bytes=manifest["size_bytes"] + 1)
    with pytest.raises(RadioError, match="its size_bytes is not that of the files"):
        read_checked_manifest(copy)
    files = manifest["files"] | {"tokenizer.json": 1}
    edited(copy / "manifest.json", files=files)
    with pytest.raises(RadioError, match=r"tokenizer\.json is not as radio wrote it \(it has"):
        read_checked_manifest(copy)


def test_transformers_without_radio_refuses_or_gives_equal_logits(make):  # noqa: F811
    """Coded weights have other shapes than the architecture's; float16 weights are the weights."""
    made = [make("llama", "radio"), make("opt", "rtn"), make("llama", "fp16")]
    command = [sys.executable, "-c", STOCK, json.dumps(IDS.tolist())]
    done = subprocess.run(
        [*command, *(str(each.packed) for each in made)], capture_output=True, text=True
    )
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(found) == 9, done.stderr
    assert all(isinstance(answer, str) for answer in found[:6]), found[:6]
    with torch.no_grad():
        expected = made[2].installed()(input_ids=IDS).logits
    assert torch.equal(torch.tensor(found[6]), expected)
