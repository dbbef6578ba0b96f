"""Bad input through the command line: one sentence, status 2, nothing left behind."""

import subprocess
import sys

import pytest
import torch

from radio.calibrate.statistics import LayerStatistics, save_statistics
from radio.cli import main
from radio.data.tokens import hashed_blocks, save_token_splits
from radio.runtime.files import write_json
from tests.manifests import manifest_of
from tests.tiny import tiny_llama


@pytest.fixture
def statistics(tmp_path):
    entry = LayerStatistics(
        cluster=torch.zeros(4, dtype=torch.int64),
        grad_var=torch.rand(1, 6) + 0.1,
        weight_var=torch.rand(1, 6) + 0.1,
        input_mean=torch.zeros(6),
    )
    save_statistics(tmp_path / "statistics.safetensors", {"layer": entry})
    manifest_of(tmp_path / "statistics.safetensors", "calibrate")
    return tmp_path / "statistics.safetensors"


def complaint(capsys, *arguments: str) -> str:
    """What the command says on its one line of stderr, after checking that it fails with 2."""
    assert main(arguments) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("radio:")]
    assert len(lines) == 1
    return lines[0]


@pytest.mark.parametrize("rate", ["0", "-1", "8.01", "nan", "inf", "three", "[3]"])
def test_rates_that_are_none(rate, statistics, tmp_path, capsys):
    out = tmp_path / "made" / "depths.safetensors"
    said = complaint(
        capsys, "allocate", f"rate_bits={rate}", f"artifacts.statistics={statistics}", f"out={out}"
    )
    assert "rate_bits=" in said and "set " in said
    assert not list(tmp_path.glob("made/**/*.*"))


@pytest.mark.parametrize("method, rate", [("rtn", "3.5"), ("radio", "9"), ("fp16", "3")])
def test_rates_that_a_method_cannot_have(method, rate, tmp_path, capsys):
    """Refused before the model is touched: there is none here."""
    said = complaint(
        capsys,
        "quantize",
        f"method={method}",
        f"rate_bits={rate}",
        "artifacts.model=absent.json",
        f"out={tmp_path / 'q.safetensors'}",
    )
    assert f"rate_bits={float(rate)}" in said


def test_a_rate_that_works_beside_those_that_do_not(statistics, tmp_path):
    out = tmp_path / "depths.safetensors"
    arguments = ["allocate", "rate_bits=3", f"artifacts.statistics={statistics}", f"out={out}"]
    assert main(arguments) == 0
    assert out.exists() and out.with_suffix(".json").exists()


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["quantize", "model=smolm2-135m"], ["smolm2-135m", "smollm2-135m"]),
        (["quantize", "method=rnt"], ["rnt", "rtn"]),
        (["tokenize", "data=wikipdia"], ["wikipdia", "wikipedia"]),
        (["table", "experiment=table_smolm2"], ["table_smolm2", "table_smollm2"]),
        (["quantise"], ["quantise", "quantize"]),
        (["quantize", "rate_bit=3"], ["rate_bit"]),
    ],
)
def test_unknown_names_are_answered_by_near_ones(arguments, words, capsys):
    said = complaint(capsys, *arguments)
    assert all(word in said for word in words)


def test_an_artifact_that_a_method_needs_is_asked_for(tmp_path, capsys):
    said = complaint(
        capsys,
        "quantize",
        "method=radio",
        "rate_bits=3",
        "artifacts.model=absent.json",
        f"out={tmp_path / 'q.safetensors'}",
    )
    assert "artifacts.statistics is missing" in said


def test_a_truncated_artifact(statistics, tmp_path, capsys):
    statistics.write_bytes(statistics.read_bytes()[:-5])
    out = tmp_path / "depths.safetensors"
    said = complaint(
        capsys, "allocate", "rate_bits=3", f"artifacts.statistics={statistics}", f"out={out}"
    )
    assert "corrupt" in said and not out.exists()


def test_a_full_disk(statistics, tmp_path):
    """The operating system refuses to write more than a few bytes to any file."""
    out = tmp_path / "made" / "depths.safetensors"
    script = (
        "import resource, signal, sys; from radio.cli import main;"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (64, 64));"
        "sys.exit(main(sys.argv[1:]))"
    )
    given = ["allocate", "rate_bits=3", f"artifacts.statistics={statistics}", f"out={out}"]
    done = subprocess.run(
        [sys.executable, "-c", script, *given], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2, done.stderr
    assert "no space to write" in done.stderr and "Traceback" not in done.stderr
    assert not list(tmp_path.glob("made/*")) and not list(tmp_path.glob("made/.*"))


@pytest.mark.parametrize(
    "arguments, sentence",
    [
        (["allocate", "target.bpw=three"], "target.bpw=three is no amount"),
        (["allocate", "target.size=100"], "give a number above 0 with its unit (MB or GB)"),
        (["allocate", "target.speed=9"], "target.speed"),
        (["allocate", "target.bpw=3", "target.kl=0.1"], "2 things asked of the rate"),
        (["allocate", "target.kl=0.1"], "artifacts.target is missing"),
        (["allocate", "target.bpw=3"], "artifacts.model is missing"),
        (["allocate"], "nothing asked of the rate"),
        (["allocate", "rate_bits=3", "method.solver=magic"], "method.solver=magic is not accepted"),
        (["allocate", "rate_bits=2.5", "method.solver=uniform"], "set an integer from 1 to 8"),
        (["quantize", "method=fp16", "target.bpw=3"], "target.bpw=3 does not suit method=fp16"),
        (
            ["quantize", "method.quantizer.levels=odd", "rate_bits=3"],
            "quantizer.levels=odd is not",
        ),
        (
            ["quantize", "method.quantizer.center_on=mode", "rate_bits=3"],
            "quantizer.center_on=mode is not",
        ),
        (["refine", "target.kl=0.1"], "target.kl=0.1 does not suit refinement"),
        (["target", "target.bpw=3"], "bpw=3 is no target of accuracy"),
        (["target", "target.kl=0.1", "method=rtn"], "method=rtn allocates no depths"),
        (["allocate", "rate_bits=3", "method=rtn"], "method=rtn allocates no depths"),
        (["refine", "rate_bits=3", "method=rtn"], "stands for a key that is not there"),
    ],
)
def test_what_cannot_be_asked(arguments, sentence, statistics, tmp_path, capsys):
    """Refused before any model or text is touched: there is none here."""
    step, *overrides = arguments
    named = {"allocate": [], "quantize": ["model"]}.get(step, ["model", "tokens"])
    given = [f"artifacts.{name}=absent.json" for name in named]
    if step in ("allocate", "target"):
        given.append(f"artifacts.statistics={statistics}")
    out = tmp_path / "made" / ("out.json" if step == "target" else "out.safetensors")
    assert sentence in complaint(capsys, step, *overrides, *given, f"out={out}")
    assert not list(tmp_path.glob("made/**/*.*"))


@pytest.mark.parametrize(
    "override, sentence",
    [
        ("device=cuda:7", "device=cuda:7 is none that torch sees"),
        ("dtype=int8", "dtype=int8 is not accepted"),
    ],
)
def test_devices_and_types_that_are_none(override, sentence, tmp_path, capsys):
    ids = hashed_blocks(torch.zeros(1, 4, dtype=torch.int64), "x", [])
    save_token_splits(tmp_path / "tokens.safetensors", {"test": ids})
    manifest_of(tmp_path / "tokens.safetensors", "tokenize")
    write_json(tmp_path / "model.json", {"measured": {"path": str(tiny_llama(tmp_path / "model"))}})
    given = [f"artifacts.model={tmp_path / 'model.json'}"]
    given += [f"artifacts.tokens={tmp_path / 'tokens.safetensors'}"]
    out = tmp_path / "reference.safetensors"
    assert sentence in complaint(capsys, "reference", *given, f"out={out}", override)
    assert not out.exists()
