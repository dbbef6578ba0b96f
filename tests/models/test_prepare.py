"""`radio prepare`: where the checkpoint is, what it holds, and no manifest for a bad one."""

import json
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir
from safetensors.torch import load_file, save_file

from radio.models import fetch_checkpoint, load_model
from radio.models.spec import ModelSpec
from radio.runtime.errors import RadioError
from radio.steps import prepare
from tests.tiny import tiny_llama

CONFIG = Path(__file__).parents[2] / "config"
TINY = ["vocabulary=300", "layers=1", "width=16", "ffn=32", "heads=2", "context=16", "steps=4"]


def run(out: Path, *overrides: str) -> dict[str, object]:
    with initialize_config_dir(str(CONFIG), version_base="1.3"):
        cfg = compose("prepare", [f"out={out}", "wandb.mode=disabled", *overrides])
    prepare.run(cfg)
    measured: dict[str, object] = json.loads(out.read_text())["measured"]
    return measured


def test_local_checkpoint(llama: Path, tmp_path: Path) -> None:
    measured = run(tmp_path / "local" / "model.json", "model=local", f"model.path={llama}")
    assert measured["path"] == str(llama)
    assert measured["revision"] == "local"
    assert measured["parameters"] == sum(p.numel() for p in load_model(llama).parameters())
    assert len(str(measured["sha256"])) == 64


def test_checkpoint_with_nan_leaves_no_manifest(tmp_path: Path) -> None:
    path = tiny_llama(tmp_path / "nan")
    weights = load_file(path / "model.safetensors")
    weights["model.norm.weight"][0] = torch.nan
    save_file(weights, path / "model.safetensors", metadata={"format": "pt"})
    out = tmp_path / "out" / "model.json"
    with pytest.raises(RadioError, match=r"1 NaN or infinite values in model\.norm\.weight"):
        run(out, "model=local", f"model.path={path}")
    assert not out.exists()


def test_training_lands_where_locate_looks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Trained on the calibration articles, chosen on the validation ones, found afterwards."""
    articles = {"calibration": ["A river runs. " * 50], "validation": ["The sea waits. " * 50]}
    monkeypatch.setattr(prepare, "articles", lambda: articles)
    monkeypatch.setenv("RADIO_RESULTS", str(tmp_path))
    tiny = [f"model.source.{setting}" for setting in [*TINY, "warmup=1", "validate_every=2"]]
    out = tmp_path / "opt-nano" / "model.json"
    measured = run(out, "model=opt-nano", *tiny)
    assert isinstance(measured["validation_perplexity"], float)
    assert measured["revision"] == "trained"
    with initialize_config_dir(str(CONFIG), version_base="1.3"):
        cfg = compose("prepare", ["model=opt-nano", *tiny])
    assert str(fetch_checkpoint(ModelSpec.from_config(cfg.model))) == measured["path"]
