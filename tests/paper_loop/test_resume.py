"""kill -9 at any moment, then run again: the same bytes."""

import json
import os
import signal
import subprocess
import sys

import pytest
import torch

import radio.paper_loop.loop as loop
from radio.calibrate.statistics import save_statistics, tensors_of
from radio.paper_loop.gradients import PcaTokens
from radio.paper_loop.state import State
from tests.paper_loop.setting import run
from tests.tiny import state_in

# the loop with a state saved after every sequence, which kills itself at sequence `at` or, with
# `at` negative, inside the validation of iteration -at
SUICIDE = """
import os, signal, sys
from pathlib import Path
import radio.paper_loop.loop as loop
from tests.paper_loop.setting import run
from tests.tiny import state_in
loop.SAVE_EVERY_S = 0.0
checkpoint, folder, at = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
backward, validate, validated = loop.PcaTokens.backward, loop._validate, 0
def die():
    os.kill(os.getpid(), signal.SIGKILL)
def stop_backward(self, model, ids, index):
    backward(self, model, ids, index)
    if index == at: die()
def stop_validation(*given):
    global validated
    validated += 1
    if validated == -at: die()
    return validate(*given)
loop.PcaTokens.backward, loop._validate = stop_backward, stop_validation
run(checkpoint, state_in(folder), validate_every=1)
"""


@pytest.mark.parametrize("at, first", [(1, 1), (5, 5), (-3, 6)])
def test_killed_run_resumes_to_the_same_bytes(llama, tmp_path, monkeypatch, at, first):
    """Before the first re-quantization, inside a later minibatch, and inside a validation."""
    whole = run(llama, validate_every=1)
    save_statistics(tmp_path / "whole.safetensors", whole.statistics)
    state = state_in(tmp_path)
    killed = subprocess.run(
        [sys.executable, "-c", SUICIDE, str(llama), str(tmp_path), str(at)],
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.getcwd()},
        stderr=subprocess.DEVNULL,
    )
    assert killed.returncode == -signal.SIGKILL and state.path.exists()

    indices, backward = [], PcaTokens.backward
    monkeypatch.setattr(
        PcaTokens,
        "backward",
        lambda self, model, ids, index: (indices.append(index), backward(self, model, ids, index)),
    )
    monkeypatch.setattr(loop, "output_axes", None)  # the axes are in the state
    again = run(llama, state, validate_every=1)
    assert indices == list(range(first, 8))
    save_statistics(tmp_path / "again.safetensors", again.statistics)
    assert (tmp_path / "again.safetensors").read_bytes() == (
        tmp_path / "whole.safetensors"
    ).read_bytes()
    assert json.dumps(again.trace) == json.dumps(whole.trace)
    assert again.best_iteration == whole.best_iteration


def test_state_of_another_run_is_not_used(llama, tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "SAVE_EVERY_S", 0.0)
    run(llama, state_in(tmp_path), iterations=2)
    assert state_in(tmp_path).path.exists()
    found = run(llama, state_in(tmp_path, "another"), iterations=2, seed=1)
    fresh = run(llama, state_in(tmp_path / "fresh"), iterations=2, seed=1)
    for name, entry in fresh.statistics.items():
        assert torch.equal(found.statistics[name].grad_var, entry.grad_var)


def test_a_state_is_saved_twice_a_minute_at_most(llama, tmp_path):
    run(llama, state_in(tmp_path))
    assert not state_in(tmp_path).path.exists()


@pytest.mark.parametrize("shared", [True, False])
def test_a_state_survives_its_file_in_every_part(llama, tmp_path, shared):
    """Also where the best statistics are the current ones, and where there are no axes."""
    first, second = (run(llama, iterations=n, validate_every=9).statistics for n in (1, 2))
    weights = {"z": torch.randn(4, 3), "a": torch.randn(2, 4)}
    state = State.fresh(torch.zeros(0, 16), weights)
    state.grad_sum["z"] += 1
    state.input_sum["a"] += 2
    state.sequences, state.weight = 7, 1 / 3
    state.current, state.best = second, second if shared else first
    state.trace = [{"iteration": 1, "kl": None, "a": 0.1}, {"iteration": 2, "kl": 1 / 3, "a": 0.2}]
    store = state_in(tmp_path)
    state.save(store)
    loaded = State.resumed(store)
    assert loaded is not None and loaded.axes.shape == (0, 16)
    assert (loaded.sequences, loaded.weight) == (7, 1 / 3)
    assert json.dumps(loaded.trace) == json.dumps(state.trace)
    for kind in ("grad_sum", "input_sum"):
        for name, total in getattr(state, kind).items():
            assert torch.equal(getattr(loaded, kind)[name], total)
    for kind in ("current", "best"):
        found, wanted = (tensors_of(getattr(each, kind)) for each in (loaded, state))
        assert list(found) == list(wanted)
        assert all(torch.equal(found[name], tensor) for name, tensor in wanted.items())
    assert State.resumed(state_in(tmp_path, "another")) is None
