"""`radio refine` between `radio tokenize` and `radio allocate`."""

import json

import pytest

from radio.cli import main
from radio.data.tokens import hashed_blocks, save_token_splits
from radio.runtime.manifest import read_manifest
from radio.runtime.state import state_path
from tests.manifests import manifest_of
from tests.paper_loop.setting import text

SETTINGS = {"sequences": 2, "batch": 2, "iterations": 2, "tokens": 3, "validate_every": 1}


@pytest.fixture
def refined(llama, tmp_path):
    """Runs the step on a text whose test split is given, and gives the path of its artifact."""
    (tmp_path / "model.json").write_text(json.dumps({"measured": {"path": str(llama)}}))

    def refine(name: str, test_seed: int):
        seeds = {"calibration": 1, "validation": 2, "test": test_seed}
        splits = {split: hashed_blocks(text(2, seed), split, []) for split, seed in seeds.items()}
        save_token_splits(tmp_path / f"{name}-tokens.safetensors", splits)
        manifest_of(tmp_path / f"{name}-tokens.safetensors", "tokenize")
        out = tmp_path / f"{name}.safetensors"
        assert (
            main(
                [
                    "refine",
                    "rate_bits=3",
                    "model.group_rows=8",
                    f"artifacts.model={tmp_path / 'model.json'}",
                    f"artifacts.tokens={tmp_path / f'{name}-tokens.safetensors'}",
                    f"out={out}",
                    *(f"refinement.estimator.{key}={value}" for key, value in SETTINGS.items()),
                ]
            )
            == 0
        )
        assert not state_path(out).exists()
        return out

    return refine


def test_the_trace_is_in_the_manifest(refined):
    measured = read_manifest(refined("a", 3))["measured"]
    assert [entry["iteration"] for entry in measured["trace"]] == [1, 2]
    least = min(measured["trace"], key=lambda entry: entry["kl"])
    assert measured["best_iteration"] == least["iteration"]
    assert all(entry["perplexity"] > 1 for entry in measured["trace"])


def test_the_test_text_plays_no_part(refined):
    one, other = refined("one", 3), refined("other", 4)
    assert one.read_bytes() == other.read_bytes()


def test_allocate_and_quantize_take_it_as_any_statistics(refined, tmp_path):
    statistics = refined("a", 3)
    depths, quantized = tmp_path / "depths.safetensors", tmp_path / "quantized.safetensors"
    given = ["rate_bits=3", f"artifacts.statistics={statistics}"]
    assert main(["allocate", *given, f"out={depths}"]) == 0
    model = f"artifacts.model={tmp_path / 'model.json'}"
    assert (
        main(["quantize", *given, f"artifacts.allocation={depths}", model, f"out={quantized}"]) == 0
    )
    trace = read_manifest(statistics)["measured"]["trace"]
    best = read_manifest(statistics)["measured"]["best_iteration"]
    found = read_manifest(quantized)["measured"]["mean_depth"]
    assert found == pytest.approx(trace[best - 1]["rate_bits"])
