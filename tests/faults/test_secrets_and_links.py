"""Passwords in addresses appear in no log and no manifest; links and indices stay inside.

Links of tokenizers and settings are tested in test_tokenizer_files.py, code in test_remote_code.py.
"""

import json
import logging
import sys
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from radio.cli import _complain
from radio.models.stored import weight_files
from radio.runtime import tracking
from radio.runtime.errors import RadioError
from radio.runtime.failure import failure
from radio.runtime.manifest import recorded
from radio.runtime.secrets import MaskingFormatter, masked
from tests.tiny import tiny_llama

SECRET = "hunter2"
ADDRESS = f"https://me:{SECRET}@wandb.example.org:8080/path"


@pytest.mark.parametrize(
    "text, shown",
    [
        (ADDRESS, "https://***@wandb.example.org:8080/path"),
        (f"http://{SECRET}@proxy and {ADDRESS}", "http://***@proxy and https://***@wandb.example"),
        (f"socks5h://me:p@ss{SECRET}@host", "socks5h://***@host"),
        ("https://host/a@b?c=d@e", "https://host/a@b?c=d@e"),
        ("me@host", "me@host"),
    ],
)
def test_user_information_is_masked_and_nothing_else(text, shown):
    assert masked(text).startswith(shown)
    assert SECRET not in masked(text)


def test_no_line_of_the_log_shows_it():
    try:
        raise ValueError(f"no answer from {ADDRESS}")
    except ValueError:
        record = logging.LogRecord("x", 40, "", 0, "asking %s", (ADDRESS,), sys.exc_info())
    line = MaskingFormatter("%(message)s").format(record)
    assert "asking https://***@wandb" in line and "no answer from https://***@wandb" in line
    assert SECRET not in line


def test_no_complaint_shows_it(capsys):
    _complain(f"no answer from {ADDRESS}")
    assert SECRET not in capsys.readouterr().err


def test_no_report_of_an_error_shows_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    sentence = failure(ValueError(f"no answer from {ADDRESS}"), ["evaluate", f"x={ADDRESS}"])
    (report,) = (tmp_path / "logs/errors").iterdir()
    assert str(report) in sentence
    assert SECRET not in report.read_text() and "***@wandb" in report.read_text()


def test_tracking_does_not_show_it(monkeypatch, caplog):
    monkeypatch.setenv("WANDB_BASE_URL", ADDRESS)
    monkeypatch.setenv("WANDB_API_KEY", "x")
    monkeypatch.setattr(tracking, "_answers", lambda _: False)
    assert tracking.choose_mode(OmegaConf.create({"wandb": {"mode": "online"}})) == "offline"
    assert "***@wandb.example.org" in caplog.text and SECRET not in caplog.text
    assert SECRET not in tracking._sentence(ValueError(f"no answer from {ADDRESS}"))
    assert SECRET not in str(tracking._plain(OmegaConf.create({"data": {"url": [ADDRESS]}})))


def test_no_manifest_shows_it(tmp_path):
    cfg = OmegaConf.create({"data": {"name": "x", "url": ADDRESS}, "wandb": {"mode": "disabled"}})
    with recorded("items", cfg, tmp_path / "x.jsonl") as (staged, _):
        staged.touch()
    assert SECRET not in (tmp_path / "x.json").read_text()


@pytest.mark.parametrize("name", ["../secret.safetensors", "/etc/passwd", "deep/x", ".."])
def test_an_index_names_files_of_its_own_directory(name, tmp_path):
    checkpoint = tiny_llama(tmp_path / "model")
    (tmp_path / "secret.safetensors").touch()
    (checkpoint / "deep").mkdir()
    (checkpoint / "model.safetensors").rename(checkpoint / "deep/x.safetensors")
    index: Path = checkpoint / "model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": {"model.norm.weight": name}}))
    with pytest.raises(RadioError, match="which is not a file in its directory"):
        weight_files(checkpoint)
