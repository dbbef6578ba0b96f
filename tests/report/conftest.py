"""Evaluations of an invented experiment."""

import json
from pathlib import Path

import pytest

# method, rate, true bits, perplexity, KL
CELLS = [
    ("fp16", "16", 16.0, 33.9, 0.0),
    ("rtn", "4", 4.04, 59.9, 0.73),
    ("rtn", "3", 3.04, 660.0, 3.07),
    ("radio", "4", 4.08, 38.2, 0.139),
    ("radio", "3", 3.08, 63.1, 0.642),
]
WEIGHTS = 106_168_320
FP16 = 33.9


def write_evaluation(root, model, text, cell, protocol=None, **changes):
    """Write the manifest of one evaluation to the workflow's path; return this path."""
    method, rate, bpw, perplexity, kl = cell
    measured = {
        "model": model,
        "method": method,
        "rate_bits": float(rate) if "=" not in rate else bpw,
        "mean_depth": float(rate) if "=" not in rate else bpw,
        "bpw": bpw,
        "size_bytes": int(WEIGHTS * bpw / 8),
        "protocol": protocol or f"{text}-test/512x40",
        "perplexity": perplexity,
        "perplexity_se": 0.03 * perplexity,
        "perplexity_increase": perplexity - FP16,
        "perplexity_increase_se": 0.01 * (perplexity - FP16),
        "kl": kl,
        "kl_se": 0.015 * kl,
        "kl_median": 0.6 * kl,
        "kl_p99": 6 * kl,
        "top1_agreement": 1 - kl / 5,
        "wall_quantize_s": 44.4,
        "tokens": 20440,
    } | changes
    path = Path(root, model, "evaluation", method, rate, f"{text}.json")
    path.parent.mkdir(parents=True, exist_ok=True)
    manifest = {
        "step": "evaluate",
        "config": {"model": {"name": model}, "method": method, "out": str(path), "threads": 2},
        "wall_s": 123.0,
        "peak_memory_bytes": 2_000_000_000,
        "commit": "0123abc",
        "versions": {"torch": "2.13.0", "transformers": "5.23.0"},
        "device": {"name": "A processor", "threads": 2},
        "measured": {name: value for name, value in measured.items() if value is not None},
        "not_finite": [f"{name}=inf" for name, value in changes.items() if value is None],
    }
    path.write_text(json.dumps(manifest))
    return path


@pytest.fixture
def evaluations(tmp_path):
    """Return the paths of the manifests of one model on one text, in the order of CELLS."""
    return [write_evaluation(tmp_path, "smollm2-135m", "wikipedia", cell) for cell in CELLS]
