"""Code that comes with a checkpoint never runs, and nothing asks on the terminal whether to."""

import ast
import io
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from radio.cli import main
from radio.models import load_model, load_tokenizer
from tests.faults.chain import text
from tests.tiny import tiny_llama

PACKAGE = Path(__file__).parents[2] / "radio"
PLANTED = """
import pathlib
pathlib.Path({mark!r}).touch()
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
class Config(LlamaConfig): model_type = "planted"
class Model(LlamaForCausalLM): config_class = Config
class Words(PreTrainedTokenizerFast): pass
def generate(model, *arguments, **settings): return None
"""
OF_CONFIG = {"AutoConfig": "planted.Config"}
OF_MODEL = {"AutoModelForCausalLM": "planted.Model", "AutoModel": "planted.Model"}
OF_TOKENIZER = {"AutoTokenizer": [None, "planted.Words"]}


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """A tiny Llama with code beside it, and `ran` as the mark that it leaves if it runs."""
    path = tiny_llama(tmp_path / "model")
    code = PLANTED.format(mark=str(tmp_path / "ran"))
    (path / "planted.py").write_text(code)
    (path / "custom_generate").mkdir()
    (path / "custom_generate" / "generate.py").write_text(code)
    return path


@pytest.fixture(autouse=True)
def _yes_to_everything(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Whoever asks is answered yes; after each test nothing has run, or waited for an answer."""
    answers = io.StringIO("yes\n" * 20)
    monkeypatch.setattr(sys, "stdin", answers)
    monkeypatch.setenv("HF_MODULES_CACHE", str(tmp_path / "modules"))
    yield
    assert answers.tell() == 0, "something asked"
    assert not (tmp_path / "ran").exists(), "planted code ran"


def edit(path: Path, name: str, **changes: object) -> None:
    file = path / name
    before = json.loads(file.read_text()) if file.exists() else {}
    file.write_text(json.dumps({**before, **changes}))


def prepared(path: Path) -> int:
    out = path.parent / "made" / "model.json"
    return main(["prepare", "model=local", f"model.path={path}", f"out={out}"])


def test_code_of_a_family_that_transformers_has(checkpoint: Path) -> None:
    """transformers' own class is used, as without the code."""
    edit(checkpoint, "config.json", auto_map=OF_CONFIG | OF_MODEL)
    edit(checkpoint, "generation_config.json", custom_generate="planted", auto_map=OF_MODEL)
    assert prepared(checkpoint) == 0
    assert type(load_model(checkpoint)).__module__.startswith("transformers.")


def test_code_of_another_family(checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    edit(checkpoint, "config.json", model_type="planted", auto_map=OF_CONFIG | OF_MODEL)
    assert prepared(checkpoint) == 2
    assert "the checkpoint needs its own code" in capsys.readouterr().err


@pytest.mark.parametrize("auto_map", [OF_TOKENIZER, ["planted.Words", "planted.Words"]], ids=str)
def test_code_of_a_tokenizer(
    auto_map: object, checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    edit(checkpoint, "tokenizer_config.json", auto_map=auto_map, tokenizer_class="Words")
    if prepared(checkpoint) == 2:
        assert "the checkpoint needs its own code" in capsys.readouterr().err
    else:
        assert type(load_tokenizer(checkpoint)).__module__.startswith("transformers.")


def test_all_steps_of_a_checkpoint_with_code_everywhere(checkpoint: Path) -> None:
    edit(checkpoint, "config.json", auto_map=OF_CONFIG | OF_MODEL | OF_TOKENIZER)
    edit(checkpoint, "generation_config.json", custom_generate="planted", auto_map=OF_MODEL)
    assert prepared(checkpoint) == 0
    made = checkpoint.parent / "made"
    model, tokens = f"artifacts.model={made}/model.json", made / "tokens.safetensors"
    chosen = ["model=local", f"model.path={checkpoint}", "data=local"]
    data = [f"data.path={text(made)}", "data.context_tokens=32"]
    assert main(["tokenize", *chosen, *data, model, f"out={tokens}"]) == 0
    reference = [f"artifacts.tokens={tokens}", f"out={made}/reference.safetensors"]
    assert main(["reference", *chosen[:2], model, *reference]) == 0


def test_every_call_that_could_run_code_says_not_to() -> None:
    """transformers asks, waits or runs it where the argument is left out."""
    calls = 0
    for file in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
                continue
            if node.func.attr not in ("from_pretrained", "from_config"):
                continue
            if not ast.unparse(node.func).startswith(("Auto", "GenerationConfig")):
                continue
            given = {word.arg: ast.unparse(word.value) for word in node.keywords}
            assert given.get("trust_remote_code") == "False", f"{file}:{node.lineno}"
            calls += 1
    assert calls > 5
