"""Learned levels and measured errors through the command line, on a tiny model."""

import json
from pathlib import Path

import pytest
import torch

from radio.allocate.depths import load_depths
from radio.calibrate.statistics import LayerStatistics, save_statistics
from radio.cli import main
from radio.models import decoder_linears, load_model
from radio.pack.file import load_quantized
from radio.runtime.files import write_json
from radio.theory.grouping import locations_and_scales
from tests.tiny import tiny_llama


@pytest.fixture
def artifacts(tmp_path: Path) -> dict[str, str]:
    """Manifest of a model, and statistics of its layers with theirs."""
    path = tiny_llama(tmp_path / "model", num_hidden_layers=1)
    write_json(tmp_path / "model.json", {"measured": {"path": str(path)}})
    statistics = {}
    for name, linear in decoder_linears(load_model(path)).items():
        rows, cols = linear.weight.shape
        cluster = torch.zeros(rows, dtype=torch.int64)
        _, scale = locations_and_scales(linear.weight.detach(), cluster, 1)
        grad_var = torch.exp(2 * torch.randn(1, cols))
        statistics[name] = LayerStatistics(cluster, grad_var, scale.square(), torch.zeros(cols))
    save_statistics(tmp_path / "statistics.safetensors", statistics)
    write_json(tmp_path / "statistics.json", {"wall_s": 1.0, "measured": {}})
    return {
        "model": str(tmp_path / "model.json"),
        "statistics": str(tmp_path / "statistics.safetensors"),
    }


def made(step: str, folder: Path, artifacts: dict[str, str], names: str, *overrides: str) -> str:
    """Path of what a step makes of the named artifacts."""
    out = str(folder / f"{step}.safetensors")
    given = [f"artifacts.{name}={artifacts[name]}" for name in names.split()]
    assert main([step, f"out={out}", *given, *overrides]) == 0
    return out


def test_from_codebook_to_quantized_model(artifacts, tmp_path):
    learned = "method.quantizer.levels=learned"
    artifacts["codebook"] = made("codebook", tmp_path, artifacts, "model statistics")
    artifacts["distortion"] = made(
        "distortion", tmp_path, artifacts, "model statistics codebook", learned
    )
    artifacts["allocation"] = made(
        "allocate",
        tmp_path,
        artifacts,
        "statistics distortion",
        "rate_bits=2.5",
        "method.solver=exact",
        "method.use_measured_distortion=true",
    )
    quantized = load_quantized(
        Path(
            made(
                "quantize",
                tmp_path,
                artifacts,
                "model statistics allocation codebook",
                "rate_bits=2.5",
                "method.needs=[statistics,allocation,codebook]",
                learned,
            )
        )
    )
    assert quantized.mean_depth() == pytest.approx(2.5, abs=0.01)
    assert quantized.mean_depth() <= 2.5
    assert set(quantized.shared()) == {"codebook"}
    depths = load_depths(Path(artifacts["allocation"]))
    assert all(
        torch.equal(layer.weight.depths, depths[name]) for name, layer in quantized.layers.items()
    )
    measured = json.loads((tmp_path / "allocate.json").read_text())["measured"]
    assert 0 <= measured["pruned"] < 1


def test_a_method_without_depths_has_no_errors_to_measure(artifacts, tmp_path, capsys):
    given = [f"artifacts.{name}={path}" for name, path in artifacts.items()]
    assert main(["distortion", f"out={tmp_path / 'd.safetensors'}", "method=rtn", *given]) == 2
    assert "a class that has distortion, empty_layer" in capsys.readouterr().err


def test_learned_levels_are_asked_for(artifacts, tmp_path, capsys):
    given = [f"artifacts.{name}={path}" for name, path in artifacts.items()]
    out = f"out={tmp_path / 'd.safetensors'}"
    assert main(["distortion", out, "method.quantizer.levels=learned", *given]) == 2
    assert "artifacts.codebook" in capsys.readouterr().err
