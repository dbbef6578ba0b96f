"""The steps on a tiny checkpoint: prepare, tokenize, quantize by rtn, reference, evaluate."""

import random
from pathlib import Path

from radio.cli import main
from radio.runtime.manifest import read_manifest

STEPS = ("prepare", "tokenize", "quantize", "reference", "evaluate")


def chain(checkpoint: Path, out: Path) -> dict[str, object]:
    """Return what the evaluation measured.

    Raises:
        AssertionError: a step ended with another status than 0.
    """
    for step in STEPS:
        assert run(step, checkpoint, out) == 0, step
    return {**read_manifest(out / "losses.csv")["measured"]}


def run(step: str, checkpoint: Path, out: Path) -> int:
    """Return the exit status of a step, whose results are in directory `out`."""
    model, tokens = (
        f"artifacts.model={out}/model.json",
        f"artifacts.tokens={out}/tokens.safetensors",
    )
    arguments = {
        "prepare": [f"out={out}/model.json"],
        "tokenize": [
            *("data=local", f"data.path={text(out.parent)}", "data.context_tokens=32"),
            *(model, f"out={out}/tokens.safetensors"),
        ],
        "quantize": ["method=rtn", "rate_bits=4", model, f"out={out}/coded.safetensors"],
        "reference": [model, tokens, f"out={out}/reference.safetensors"],
        "evaluate": [
            *(model, tokens, f"artifacts.reference={out}/reference.safetensors"),
            *(f"artifacts.quantized={out}/coded.safetensors", f"out={out}/losses.csv"),
        ],
    }
    chosen = ["model=local", f"model.path={checkpoint}", "model.group_rows=16"]
    return main([step, *chosen, *arguments[step]])


def text(folder: Path) -> Path:
    """Write 40 documents of random words, unless they are there, and return their file."""
    file = folder / "text.txt"
    if not file.exists():
        draw = random.Random(0)
        words = ["".join(draw.choices("abcdefghij", k=draw.randint(2, 8))) for _ in range(300)]
        documents = [" ".join(draw.choices(words, k=40)) for _ in range(40)]
        file.write_text("\n\n".join(documents))
    return file
