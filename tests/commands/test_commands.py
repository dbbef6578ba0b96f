"""The two commands for users: a model in one line, and bad input in one sentence."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from radio import cli
from radio.commands import compress
from radio.commands.words import pairs
from radio.runtime.errors import RadioError
from tests.tiny import tiny_llama
from tests.workflow.snake import ROOT

SCRIPT = """
import radio
from transformers import AutoModelForCausalLM, AutoTokenizer
tokenizer = AutoTokenizer.from_pretrained("OUT")
model = AutoModelForCausalLM.from_pretrained("OUT")
ids = model.generate(**tokenizer("The", return_tensors="pt"), max_new_tokens=5)
print(tokenizer.decode(ids[0]))
"""


@pytest.fixture(autouse=True)
def _handlers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli.signal, "signal", lambda *_: None)


def radio(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run the command line in a folder, with this code."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "radio", *words]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)


def test_words() -> None:
    assert pairs(["a=1", "b.c=x=y", "a=2"]) == {"a": "2", "b.c": "x=y"}
    for word in ("nonsense", "=3"):
        with pytest.raises(RadioError, match="write KEY=VALUE"):
            pairs([word])


@pytest.mark.parametrize(
    "arguments, sentence",
    [
        (["compress"], "out is missing: add out=DIR"),
        (["compress", "out=OUT"], "nothing asked of the rate"),
        (["compress", "out=OUT", "rate_bits=3", "target.bpw=3"], "two rates"),
        (["compress", "out=OUT", "rate_bits=9", "method=rtn"], "rate_bits=9.0 does not suit rtn"),
        (["compress", "out=OUT", "target.size=100"], "give a number above 0 with its unit"),
        (["compress", "out=OUT", "rate_bits=3", "model=opt-125"], "did you mean opt-125m"),
        (["compress", "out=OUT", "rate_bits=3", "method=rtm"], "did you mean rtn"),
        (["compress", "out=OUT", "rate_bits=3", "method=rtn@x=1"], "method rtn@x=1 sets x"),
        (["compress", "out=OUT", "rate_bits=3", "modle.path=x"], "unknown key in overrides"),
        (["compress", "out=FULL", "rate_bits=3"], "holds mine, which is not of a model"),
        (["export", "out=OUT"], "export is not given a packed model"),
        (["export", "FULL", "out=OUT"], "FULL has no manifest.json"),
        (["export", "FULL"], "export takes out=DENSE and dtype"),
        (["export", "FULL", "out=OUT", "dtype=int8"], "dtype=int8 is unknown: set float32"),
    ],
)
def test_bad_input_is_one_line_before_any_work(
    arguments: list[str],
    sentence: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "FULL").mkdir()
    (tmp_path / "FULL" / "mine").touch()
    assert cli.main(arguments) == 2
    shown = capsys.readouterr().err
    assert shown.startswith("radio: error: ") and sentence in shown and shown.count("\n") == 1
    assert [path.name for path in tmp_path.rglob("*")] == ["FULL", "mine"]


def test_the_workflow_is_asked_for_the_file_that_was_meant(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[object] = []

    def make(*arguments: object) -> None:
        asked.extend(arguments)
        raise RadioError("stop")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(compress, "make", make)
    words = [
        "model=opt-125m",
        "method=radio@scale_fit=moments,seed=0",
        "target.size=100MB",
        "threads=2",
    ]
    with pytest.raises(RadioError, match="stop"):
        compress.run([*words, "model.group_rows=64", "out=OUT"])
    path = "results/opt-125m/quantized/radio@scale_fit=moments/size=100MB.safetensors"
    assert asked == [Path(path), ["model.group_rows=64"], "2"]


def test_help_names_the_commands(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--help"]) == 0
    assert "radio export DIR out=DENSE" in capsys.readouterr().out
    assert cli.main(["export", "--help"]) == 0
    assert "plain checkpoint" in capsys.readouterr().out
    assert cli.main(["compress", "--help"]) == 0
    assert "Compress a model to a directory" in capsys.readouterr().out


@pytest.mark.slow
def test_a_model_in_one_line_and_a_script_of_three(tmp_path: Path) -> None:
    checkpoint = tiny_llama(tmp_path / "checkpoint")
    words = ["quantize", "model=local", f"model.path={checkpoint}", "method=rtn", "rate_bits=3"]
    words += ["out=OUT", "threads=1"]
    answer = radio(tmp_path, *words)
    assert answer.returncode == 0, answer.stderr
    size_bytes = sum(file.stat().st_size for file in (tmp_path / "OUT").iterdir())
    assert json.loads((tmp_path / "OUT/manifest.json").read_text())["size_bytes"] == size_bytes
    made = (tmp_path / "OUT/model.safetensors").read_bytes()
    assert made == (tmp_path / "results/local/quantized/rtn/3.safetensors").read_bytes()
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", SCRIPT]
    script = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert script.stdout.startswith("The"), script.stderr

    exported = radio(tmp_path, "export", "OUT", "out=DENSE", "dtype=bfloat16")
    assert exported.returncode == 0, exported.stderr
    assert AutoModelForCausalLM.from_pretrained(tmp_path / "DENSE").dtype == torch.bfloat16
    words[2] = f"model.path={tmp_path / 'nowhere'}"
    failed = radio(tmp_path, *words)
    assert failed.returncode == 2 and "radio: error: the workflow could not make" in failed.stderr
    assert made == (tmp_path / "OUT/model.safetensors").read_bytes()
