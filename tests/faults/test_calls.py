"""Calls with wrong and odd values of every key: each is answered by one sentence, or is accepted.

The body of every step is a stub, so that an answer shows that settings were checked before any
work. Run all calls with RADIO_ALL_CALLS=1; by default a seeded share of them.
"""

import os
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from omegaconf import DictConfig, OmegaConf

from radio import cli
from radio.runtime.compose import compose_step, steps

SAMPLED_CALLS = 60
VALUES = [
    *("null", "''", "true", "maybe", "-1", "0", "1e309", "nan", "inf", "-inf", "3.5", "[]"),
    *("[1,2]", "{a:1}", "/tmp", "~", "'é中'", "x" * 5000, "9" * 400, "${seed}", "${nope}"),
    *("'a\\\\0b'", "???", "radio.nothing.Nope", "'[3'", "1e-320", "a b", "$(x)", "%", "1_000"),
]
# how a key's own value is replaced: as it is, removed, added
FORMS = ["{key}={value}", "~{key}", "+{key}={value}", "++{key}={value}"]


def keys_of(node: DictConfig, above: str = "") -> Iterator[str]:
    """Return the dotted keys of a configuration, mappings and their values."""
    for name in node:
        key = f"{above}{name}"
        yield key
        value = None if OmegaConf.is_missing(node, name) else node._get_node(name)
        if isinstance(value, DictConfig) and not value._is_none():
            yield from keys_of(value, f"{key}.")


def calls() -> Iterator[list[str]]:
    """Return the words of every call."""
    for step in steps():
        for key in dict.fromkeys(keys_of(compose_step(step))):
            for value in VALUES:
                yield [step, FORMS[0].format(key=key, value=value)]
            for form in FORMS[1:]:
                yield [step, form.format(key=key, value="1")]
                yield [step, form.format(key=f"{key}.nope", value="1")]


def chosen() -> list[list[str]]:
    """Return the calls to make: all, or a seeded share."""
    every = list(calls())
    if os.environ.get("RADIO_ALL_CALLS"):
        return every
    return random.Random(0).sample(every, SAMPLED_CALLS)


@pytest.fixture
def reached(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[DictConfig]:
    """Configurations that a step's body was run with; the body does nothing."""
    seen: list[DictConfig] = []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(cli.signal, "signal", lambda *_: None)
    monkeypatch.setattr(cli.os, "environ", dict(os.environ))
    monkeypatch.setattr("torch.set_num_threads", lambda _: None)
    for step in steps():
        monkeypatch.setattr(f"radio.steps.{step}.run", seen.append)
    return seen


@cache
def missing_keys(step: str) -> set[str]:
    """Return the keys that must be given."""
    return OmegaConf.missing_keys(compose_step(step))


def answer(words: list[str], reached: list[DictConfig], capsys: pytest.CaptureFixture[str]) -> str:
    """Return "accepted" or "refused", having checked that the answer is whole."""
    del reached[:]
    step, *overrides = words
    asked = {override.lstrip("+~").partition("=")[0] for override in overrides}
    given = [f"{key}=x.safetensors" for key in missing_keys(step) if key not in asked]
    if step == "quantize" and not given:
        given = ["artifacts.statistics=x.safetensors"]
    status = cli.main([step, *given, *overrides])
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("radio:")]
    if status == 0:
        assert len(reached) == 1 and not said, words
        return "accepted"
    assert status == 2 and not reached, words
    assert len(said) == 1 and said[0].startswith("radio: error: ") and len(said[0]) > 30, words
    return "refused"


def test_every_call_is_accepted_or_answered_by_one_sentence(
    reached: list[DictConfig], capsys: pytest.CaptureFixture[str]
) -> None:
    made = Counter(answer(words, reached, capsys) for words in chosen())
    assert made["refused"] > made["accepted"] > 0
    if os.environ.get("RADIO_ALL_CALLS"):
        with capsys.disabled():
            print(dict(made))


@pytest.mark.parametrize(
    "words, sentence",
    [
        ("quantize method.quantizer.correct_bias=maybe", "set true or false"),
        ("quantize method=rtn method.quantizer.symmetric=maybe", "set true or false"),
        ("quantize rate_bits=true", "rate_bits=true is not accepted: set a number above 0"),
        ("calibrate model.group_rows=-1", "set an integer of at least 2"),
        ("calibrate model.group_rows=1", "set an integer of at least 2"),
        ("calibrate calibration.estimator=null", "calibration.estimator=null is not accepted"),
        ("calibrate ~calibration.estimator._target_", "_target_ is not given: add"),
        (
            "quantize method.quantizer._target_=radio.quantize.methods.rtn.Nope",
            "has no class or function",
        ),
        ("quantize method.quantizer._target_=no.such.Thing", "there is no module no"),
        ("evaluate method=radio", "step evaluate has no key 'method': its groups are model"),
        ("prepare method=rtn", "step prepare has no key 'method'"),
        ("prepare model=1", "unknown model '1'"),
        ("prepare model=meta-llama/Llama-3.2-1B", "model=local model.path=DIR"),
        ("tokenize data.blocks=null", "data.blocks=null is not accepted: set a mapping"),
        ("tokenize data.blocks.test=[1]", "data.blocks.test=[1] is not accepted"),
        ("tokenize data.context_tokens=1", "set an integer of at least 2"),
        ("tokenize data.shares.test=0.9", "whose sum is below 1"),
        ("evaluate memory_gb=nan", "memory_gb=nan is not accepted: set a number above 0, or null"),
        ("evaluate threads=0", "threads=0 is not accepted"),
        ("evaluate threads=true", "threads=true is not accepted"),
        ("evaluate threads=1000000", "at most 1024"),
        ("evaluate streaming=maybe", "set true, false or auto"),
        ("evaluate wandb.mode=maybe", "set one of auto, online, offline, disabled"),
        ("evaluate +colour=red", "colour does not exist"),
        ("prepare model.source.kind=[1,2]", "model.source.kind=[1, 2] is not accepted"),
        ("table out=${nope}", "out stands for a key that is not there"),
        ("table artifacts=${nope}", "artifacts stands for a key that is not there"),
    ],
)
def test_the_sentence_names_key_value_and_what_is_accepted(
    words: str, sentence: str, reached: list[DictConfig], capsys: pytest.CaptureFixture[str]
) -> None:
    step, *overrides = words.split()
    given = ["artifacts.statistics=x"] if step == "quantize" else []
    assert cli.main([step, *given, *overrides]) == 2
    assert sentence in capsys.readouterr().err
    assert not reached


@pytest.mark.parametrize("name", ["RADIO_DEVICE", "RADIO_STREAMING", "RADIO_MEMORY_GB"])
def test_environment_variables(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from radio.runtime.errors import RadioError

    monkeypatch.setenv(name, "")
    cfg = compose_step("evaluate")
    assert (cfg.device, cfg.streaming, cfg.memory_gb) == ("auto", "auto", None)
    for value in ("maybe", "nan", "[3", "-1"):
        monkeypatch.setenv(name, value)
        with pytest.raises(RadioError, match=f"^{name}"):
            compose_step("evaluate")


def test_settings_of_a_class_from_outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from radio.runtime.errors import RadioError

    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("RADIO_CONFIG_DIRS", str(tmp_path))
    (tmp_path / "outside_method.py").write_text(
        "from dataclasses import dataclass\nraise ImportError  # reading needs no import\n"
        "@dataclass\nclass Base:\n    limit: float\n"
        "@dataclass\nclass Mine(Base):\n    bias: bool = True\n    other: 'torch.Tensor' = None\n"
    )
    (tmp_path / "method").mkdir()
    (tmp_path / "method/outside.yaml").write_text(
        "name: outside\nneeds: []\nquantizer: {_target_: outside_method.Mine, limit: 0.5}\n"
    )
    compose_step("quantize", ["method=outside"])
    for override, sentence in (
        ("method.quantizer.limit=much", "limit=much is not accepted: set a number"),
        ("+method.quantizer.bias=2", "bias=2 is not accepted: set true or false"),
        ("+method.quantizer.limits=2", "limits does not exist: did you mean limit"),
        ("~method.quantizer.limit", "limit is not given"),
    ):
        with pytest.raises(RadioError, match=sentence):
            compose_step("quantize", ["method=outside", override])


@pytest.mark.parametrize("words", ["plan rate_bits=1e999", "quantize method=nope", "export ."])
def test_real_calls_without_a_terminal(words: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "radio", *words.split(), f"out={tmp_path / 'x'}"]
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("radio: error: ")
    assert "Traceback" not in done.stderr
