"""Calibration from disk equals calibration in memory, bit for bit, and resumes after a kill."""

import json
import os
import signal
import subprocess
import sys

import pytest
import torch

import radio.calibrate.random_sign
from radio.calibrate.random_sign import RandomSign
from radio.calibrate.statistics import load_statistics, save_statistics
from radio.cli import main
from radio.data.tokens import hashed_blocks, save_token_splits
from radio.models import BlockwiseBackward, StreamedModel, load_model
from radio.runtime.errors import RadioError
from radio.runtime.files import write_json
from tests.manifests import manifest_of
from tests.tiny import SHAPES, state_in, tiny_llama

IDS = torch.randint(2, 300, (7, 24), generator=torch.Generator().manual_seed(3))


def bytes_of(statistics, path) -> bytes:
    save_statistics(path, statistics)
    return path.read_bytes()


def recomputing(checkpoint, dtype, sequences=3, folder=None) -> BlockwiseBackward:
    return BlockwiseBackward(StreamedModel(checkpoint, getattr(torch, dtype)), sequences, folder)


@pytest.mark.parametrize("dtype, output", [("float32", "hidden"), ("bfloat16", "kl")])
@pytest.mark.parametrize("name", SHAPES)
def test_same_bytes_as_in_memory(tmp_path, name, dtype, output):
    """Pilot of 2, then 5 sequences, of which 3 go through a block together."""
    make, overrides = SHAPES[name]
    checkpoint = make(tmp_path / "model", **overrides)
    estimator = RandomSign(8, 7, 2, dtype, output)
    whole = estimator.run(load_model(checkpoint), IDS, 0, state_in(tmp_path))
    for folder in (None, tmp_path / "inputs"):
        model = recomputing(checkpoint, dtype, folder=folder)
        found = estimator.run(model, IDS, 0, state_in(tmp_path))
        assert bytes_of(found, tmp_path / "found") == bytes_of(whole, tmp_path / "whole")
        assert folder is None or not folder.exists()


KILLED = """
import os, signal, sys
from pathlib import Path
import radio.calibrate.random_sign
from radio.calibrate.random_sign import RandomSign
from radio.models import StreamedModel
from tests.tiny import state_in
from tests.calibrate.test_streaming import IDS, recomputing

radio.calibrate.random_sign.SAVE_EVERY_S = 0.0
filled, left = StreamedModel._filled, [int(sys.argv[2])]

def filled_or_killed(self, name, empty):
    left[0] -= 1
    if not left[0]:
        os.kill(os.getpid(), signal.SIGKILL)
    return filled(self, name, empty)

StreamedModel._filled = filled_or_killed
folder = Path(sys.argv[1])
model = recomputing(folder / "model", "float32", 2, folder / "inputs")
RandomSign(8, 7, 2, "float32", "kl").run(model, IDS, 0, state_in(folder))
"""


# 2 blocks: 4 readings for each pass of 2 sequences; the pilot is the first pass
@pytest.mark.parametrize("reading, done", [(3, None), (8, 2), (13, 6)])
def test_killed_at_any_block_it_resumes_to_the_same_bytes(tmp_path, monkeypatch, reading, done):
    """Forward or backward, with what it left of inputs on disk; and then goes on in memory."""
    checkpoint = tiny_llama(tmp_path / "model")
    command = [sys.executable, "-c", KILLED, str(tmp_path), str(reading)]
    environment = os.environ | {"PYTHONPATH": os.getcwd()}
    killed = subprocess.run(command, env=environment, stderr=subprocess.DEVNULL)
    assert killed.returncode == -signal.SIGKILL
    indices = []
    step = radio.calibrate.random_sign.backward_random_signs
    monkeypatch.setattr(
        radio.calibrate.random_sign,
        "backward_random_signs",
        lambda *given: (indices.append(given[-1]), step(*given)),
    )
    estimator = RandomSign(8, 7, 2, "float32", "kl")
    wanted = estimator.run(load_model(checkpoint), IDS, 0, state_in(tmp_path / "none"))
    for model in (
        recomputing(checkpoint, "float32", 2, tmp_path / "inputs"),
        load_model(checkpoint),
    ):
        indices.clear()
        found = estimator.run(model, IDS, 0, state_in(tmp_path))
        assert indices == list(range(done or 0, 7))
        assert bytes_of(found, tmp_path / "found") == bytes_of(wanted, tmp_path / "wanted")


def calibrate(tmp_path, out: str, *overrides: str) -> int:
    """`radio calibrate` of a tiny model on 7 sequences."""
    if not (tmp_path / "model").exists():
        model = tiny_llama(tmp_path / "model")
        write_json(tmp_path / "model.json", {"measured": {"path": str(model)}, "wall_s": 0.0})
        splits = {"calibration": hashed_blocks(IDS, "tiny", [])}
        save_token_splits(tmp_path / "tokens.safetensors", splits)
        manifest_of(tmp_path / "tokens.safetensors", "tokenize")
    given = [f"artifacts.model={tmp_path / 'model.json'}", f"out={tmp_path / out}.safetensors"]
    given += [f"artifacts.tokens={tmp_path / 'tokens.safetensors'}", "model.group_rows=8"]
    settings = ["sequences=7", "pilot_sequences=2"]
    given += [f"calibration.estimator.{setting}" for setting in settings]
    return main(["calibrate", *given, *overrides])


def test_the_step_streams_where_memory_is_short_and_writes_the_same_bytes(tmp_path):
    runs = {
        "auto": [],
        "short": ["memory_gb=0.1", "activation_cache=disk"],
        "asked": ["streaming=true"],
        "refused": ["streaming=false", "memory_gb=0.1"],
    }
    streamed = {}
    for name, overrides in runs.items():
        assert calibrate(tmp_path, name, *overrides) == 0
        manifest = json.loads((tmp_path / f"{name}.json").read_text())
        streamed[name] = manifest["measured"]["streamed"]
        assert not (tmp_path / f"{name}.inputs").exists()
        assert (tmp_path / f"{name}.safetensors").read_bytes() == (
            tmp_path / "auto.safetensors"
        ).read_bytes()
    assert streamed == {"auto": False, "short": True, "asked": True, "refused": False}
    assert load_statistics(tmp_path / "auto.safetensors")


@pytest.mark.parametrize(
    "override, sentence",
    [
        ("streaming=maybe", "streaming=maybe is not accepted: set true, false or auto"),
        ("memory_gb=-1", "memory_gb=-1 is not accepted"),
        ("memory_gb=much", "memory_gb=much is not accepted"),
        ("activation_cache=tape", "activation_cache=tape is not accepted: set one of memory, disk"),
    ],
)
def test_the_step_refuses(tmp_path, capsys, override, sentence):
    assert calibrate(tmp_path, "out", override) == 2
    assert sentence in capsys.readouterr().err
    assert not (tmp_path / "out.safetensors").exists()


def test_gradients_that_are_not_finite_are_refused_as_in_memory(tmp_path, monkeypatch):
    checkpoint = tiny_llama(tmp_path / "model")
    model = recomputing(checkpoint, "float32")
    with torch.no_grad():
        model.streamed.model.get_input_embeddings().weight.fill_(1e30)
    with pytest.raises(RadioError, match=r"set calibration\.estimator\.dtype=float32"):
        RandomSign(8, 3, 1, "float32", "kl").run(model, IDS, 0, state_in(tmp_path))
