"""Methods without depths are set to spend the true bits that were asked, through the steps."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from radio.checkpoint import load_quantized
from radio.cli import main
from radio.methods.rtn import Rtn
from radio.report.table import build_table
from radio.runtime.errors import RadioError
from radio.runtime.files import write_json
from tests.tiny import tiny_llama


@dataclass(frozen=True)
class Runs(Rtn):
    """Round to nearest at the most bits that any depth and length of runs can spend."""

    def matched(self, bits_true: float, shapes: Sequence[tuple[int, int]]) -> tuple["Runs", float]:
        weights = sum(rows * cols for rows, cols in shapes)

        def spent(bits: int, run: int) -> float:
            groups = sum(rows * -(-cols // run) for rows, cols in shapes)
            return bits + (16 + bits) * groups / weights

        reached = [(spent(bits, run), bits, run) for bits in range(1, 9) for run in range(1, 65)]
        within = [each for each in reached if each[0] <= bits_true]
        if not within:
            raise RadioError(f"target.bits={bits_true} is out of reach: {min(reached)[0]} or more")
        _, bits, run = max(within)
        return replace(self, group_cols=run), float(bits)


RUNS = ["method=rtn", "method.quantizer._target_=tests.test_equal_bits.Runs"]


@pytest.fixture
def model(tmp_path: Path) -> str:
    """Manifest of a model of 64 and 128 columns."""
    path = tiny_llama(tmp_path / "model", num_hidden_layers=1)
    write_json(tmp_path / "model.json", {"measured": {"path": str(path)}})
    return f"artifacts.model={tmp_path / 'model.json'}"


def quantized(folder: Path, *overrides: str) -> dict[str, Any]:
    """What `radio quantize` measured, having compared its true bits with the file."""
    out = folder / "q.safetensors"
    assert main(["quantize", f"out={out}", *overrides]) == 0
    measured: dict[str, Any] = json.loads(out.with_suffix(".json").read_text())["measured"]
    assert measured["bits_true"] == load_quantized(out).bits_true()
    return measured


@pytest.mark.parametrize("bits", [1.5, 2.25, 3.0, 4.0, 5.3])
def test_spends_at_most_what_was_asked_and_nearly_all_of_it(
    bits: float, model: str, tmp_path: Path
) -> None:
    measured = quantized(tmp_path, *RUNS, f"target.bits={bits}", model)
    # one run more in the 64 columns costs a scale and a zero point: (16 + 8) / 64 at most
    assert bits - 0.375 < measured["bits_true"] <= bits
    assert measured["bits_paper"] == measured["rate_bits"] < measured["bits_true"]
    assert measured["settings"]["group_cols"] in range(1, 65)


def test_a_rate_asked_as_depth_solves_nothing(model: str, tmp_path: Path) -> None:
    measured = quantized(tmp_path, *RUNS, "rate_bits=3", model)
    assert (measured["settings"], measured["bits_paper"]) == ({"group_cols": None}, 3)


@pytest.mark.parametrize(
    "overrides, sentence",
    [
        (["target.bits=1.1"], "target.bits=1.1 is out of reach: 1.26"),
        (["target.size=1MB"], "method=rtn, whose settings are solved for true bits alone"),
        (["target.kl=0.1"], "method=rtn, whose settings are solved for true bits alone"),
        (
            ["target.bits=3", "method.quantizer.group_cols=64"],
            "target.bits=3 is met by group_cols=25, and method=rtn has group_cols=64",
        ),
    ],
)
def test_what_cannot_be_met_is_refused(
    overrides: list[str], sentence: str, model: str, tmp_path: Path, capsys: Any
) -> None:
    out = tmp_path / "made" / "q.safetensors"
    assert main(["quantize", *RUNS, *overrides, model, f"out={out}"]) == 2
    assert sentence in capsys.readouterr().err
    assert not list(tmp_path.glob("made/*"))


def test_the_row_of_a_table_shows_what_was_asked_and_spent(model: str, tmp_path: Path) -> None:
    """From the model to the table, through every step."""
    text = tmp_path / "text.txt"
    text.write_text("\n\n".join(f"Fox {n} jumps over {n * n} lazy dogs." for n in range(400)))
    data = ["data=local", f"data.path={text}", "data.context_tokens=32"]
    blocks = "data.blocks={calibration:2,validation:2,test:4}"
    tokens, reference = (
        f"artifacts.{n}={tmp_path / n}.safetensors" for n in ("tokens", "reference")
    )
    out = tmp_path / "local/evaluation/rtn/bits=3/local.csv"
    made = [
        ["tokenize", model, *data, blocks, f"out={tmp_path / 'tokens.safetensors'}"],
        ["reference", model, tokens, f"out={tmp_path / 'reference.safetensors'}"],
        ["quantize", *RUNS, "target.bits=3", model, f"out={tmp_path / 'q.safetensors'}"],
        [
            "evaluate",
            "model=local",
            model,
            tokens,
            reference,
            f"artifacts.quantized={tmp_path / 'q.safetensors'}",
            f"out='{out}'",
        ],
    ]
    for arguments in made:
        assert main(arguments) == 0
    (row,) = build_table([out.with_suffix(".json")]).to_dict("records")
    assert (row["asked"], row["note"]) == ("bits=3", "")
    assert row["bits_paper"] < row["bits_true"] <= 3
    assert row["kl"] > 0
