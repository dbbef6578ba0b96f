"""Methods of one depth are set to spend the true bits that were asked, through the steps."""

import json
from pathlib import Path
from typing import Any

import pytest

from radio.cli import main
from radio.pack.file import load_quantized
from radio.report.table import build_table
from radio.runtime.files import write_json
from tests.tiny import tiny_llama


@pytest.fixture
def model(tmp_path: Path) -> str:
    """Manifest of a model of 64 and 128 columns."""
    path = tiny_llama(tmp_path / "model", num_hidden_layers=1)
    write_json(tmp_path / "model.json", {"measured": {"path": str(path)}})
    return f"artifacts.model={tmp_path / 'model.json'}"


@pytest.fixture
def tokens(model: str, tmp_path: Path) -> str:
    """Tokens of a text of its own."""
    text, out = tmp_path / "text.txt", tmp_path / "tokens.safetensors"
    text.write_text("\n\n".join(f"Fox {n} jumps over {n * n} lazy dogs." for n in range(400)))
    data = ["data=local", f"data.path={text}", "data.context_tokens=32"]
    blocks = "data.blocks={calibration:2,validation:2,test:4}"
    assert main(["tokenize", model, *data, blocks, f"out={out}"]) == 0
    return f"artifacts.tokens={out}"


def quantized(folder: Path, *overrides: str) -> dict[str, Any]:
    """What `radio quantize` measured, having compared its true bits with the file."""
    out = folder / "q.safetensors"
    assert main(["quantize", f"out={out}", *overrides]) == 0
    measured: dict[str, Any] = json.loads(out.with_suffix(".json").read_text())["measured"]
    assert measured["bpw"] == load_quantized(out).bpw()
    return measured


@pytest.mark.parametrize("bits", [1.5, 2.25, 3.0, 4.0, 5.3])
def test_spends_at_most_what_was_asked_and_nearly_all_of_it(
    bits: float, model: str, tmp_path: Path
) -> None:
    measured = quantized(tmp_path, "method=rtn", f"target.bpw={bits}", model)
    # one run more in the 64 columns costs a scale and a zero point: (16 + 8) / 64 at most
    assert bits - 0.375 < measured["bpw"] <= bits
    assert measured["mean_depth"] == measured["rate_bits"] < measured["bpw"]
    assert measured["settings"]["group_cols"] in range(1, 129)


def test_a_rate_asked_as_depth_solves_nothing(model: str, tmp_path: Path) -> None:
    measured = quantized(tmp_path, "method=rtn", "rate_bits=3", model)
    assert measured["settings"]["group_cols"] is None
    assert measured["mean_depth"] == 3 < measured["bpw"]


@pytest.mark.parametrize(
    "overrides, sentence",
    [
        (["target.bpw=1.1"], "target.bpw=1.1 is out of reach: this model and method reach 1.2"),
        (["target.size=1MB"], "method=rtn, whose settings are solved for true bits alone"),
        (["target.kl=0.1"], "method=rtn, whose settings are solved for true bits alone"),
        (
            ["target.bpw=3", "method.quantizer.group_cols=64"],
            "method.quantizer.group_cols=22, and method=rtn has group_cols=64",
        ),
    ],
)
def test_what_cannot_be_met_is_refused(
    overrides: list[str], sentence: str, model: str, tmp_path: Path, capsys: Any
) -> None:
    out = tmp_path / "made" / "q.safetensors"
    assert main(["quantize", "method=rtn", *overrides, model, f"out={out}"]) == 2
    assert sentence in capsys.readouterr().err
    assert not list(tmp_path.glob("made/*"))


def test_what_the_user_fixed_may_be_what_is_met(model: str, tmp_path: Path) -> None:
    fixed = ["method=rtn", "method.quantizer.group_cols=22"]
    free = quantized(tmp_path, "method=rtn", "target.bpw=3", model)
    assert quantized(tmp_path, *fixed, "target.bpw=3", model)["settings"] == free["settings"]


@pytest.mark.parametrize(
    "method, solved",
    [
        ("rtn", "group_cols"),
        ("gptq", "group_cols"),
        ("owq", "kept_weights"),
        ("awq-g128", "group_cols"),
    ],
)
def test_the_row_of_a_table_shows_what_was_asked_and_spent(
    method: str, solved: str, model: str, tokens: str, tmp_path: Path
) -> None:
    """From the model to the table, through every step."""
    reference = tmp_path / "reference.safetensors"
    assert main(["reference", model, tokens, f"out={reference}"]) == 0
    inputs = [] if method == "rtn" else [tokens, "method.inputs.sequences=2"]
    inputs += ["method.quantizer.group_cols=null"]
    measured = quantized(tmp_path, f"method={method}", *inputs, "target.bpw=3", model)
    assert measured["rate_bits"] == 2 and measured["settings"][solved] is not None
    out = tmp_path / f"smollm2-135m/evaluation/{method}/bpw=3/local.csv"
    given = [model, tokens, f"artifacts.reference={reference}"]
    coded = f"artifacts.quantized={tmp_path / 'q.safetensors'}"
    assert main(["evaluate", *given, coded, f"out='{out}'"]) == 0
    (row,) = build_table([out.with_suffix(".json")]).to_dict("records")
    assert (row["asked"], row["note"]) == ("bpw=3", "")
    assert 2 <= row["mean_depth"] < row["bpw"] <= 3
    assert row["kl"] > 0
