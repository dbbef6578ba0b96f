"""Quantization of a model on disk: the file is that of a model in memory, byte for byte."""

import json
import os
import signal
import subprocess
import sys

import pytest
import torch

from radio.calibrate.random_sign import RandomSign
from radio.cli import main
from radio.data.tokens import hashed_blocks, save_token_splits
from radio.models import StreamedModel, load_model
from radio.pack.file import assemble, save_quantized
from radio.pack.streamed import Parts, quantize_to_file
from radio.quantize.blockwise import MethodInputs, quantize_layers
from radio.quantize.methods.awq import Awq
from radio.quantize.methods.gptq import Gptq
from radio.quantize.methods.owq import Owq
from radio.quantize.methods.radio import Radio
from radio.quantize.methods.rtn import Rtn
from radio.runtime.errors import RadioError
from radio.runtime.files import write_json
from radio.runtime.state import StateStore
from tests.manifests import manifest_of
from tests.tiny import SHAPES, state_in, tiny_llama, tiny_opt

IDS = torch.randint(2, 300, (3, 24), generator=torch.Generator().manual_seed(5))
METHODS = {"rtn": Rtn(16), "gptq": Gptq(16), "owq": Owq(), "awq": Awq(16, ranges=2)}


@pytest.fixture(params=SHAPES, scope="module")
def checkpoint(request, tmp_path_factory):
    make, overrides = SHAPES[request.param]
    return make(tmp_path_factory.mktemp("tiny") / "model", **overrides)


def in_memory(checkpoint, method, given, path) -> tuple[bytes, object]:
    model = load_model(checkpoint)
    quantized = assemble(model, quantize_layers(model, method, 3.0, given))
    save_quantized(path, quantized)
    return path.read_bytes(), quantized.size()


def streamed(checkpoint, method, given, folder, key="test") -> tuple[bytes, object]:
    model = StreamedModel(checkpoint, torch.float32)
    out = folder / "streamed"
    size = quantize_to_file(model, method, 3.0, given, out, Parts(folder / "parts", key))
    return out.read_bytes(), size


@pytest.mark.parametrize("name", METHODS)
def test_same_bytes_and_size_as_in_memory(checkpoint, tmp_path, name):
    dtype = torch.bfloat16 if name == "gptq" else torch.float32
    given = MethodInputs() if name == "rtn" else MethodInputs(blocks=IDS, dtype=dtype)
    wanted = in_memory(checkpoint, METHODS[name], given, tmp_path / "whole")
    assert streamed(checkpoint, METHODS[name], given, tmp_path) == wanted


@pytest.mark.slow
@pytest.mark.parametrize("error_compensation", [False, True])
def test_same_bytes_for_allocated_depths(checkpoint, tmp_path, error_compensation):
    """Companded codes, added biases; with error feedback, inputs from quantized blocks."""
    estimator = RandomSign(8, 3, 1, "float32", "hidden")
    statistics = estimator.run(load_model(checkpoint), IDS, 0, state_in(tmp_path))
    draw = torch.Generator().manual_seed(0)
    depths = {
        name: torch.randint(0, 6, entry.grad_var.shape, generator=draw).to(torch.uint8)
        for name, entry in statistics.items()
    }
    given = MethodInputs(statistics, depths, blocks=IDS if error_compensation else None)
    method = Radio(error_compensation=error_compensation)
    wanted = in_memory(checkpoint, method, given, tmp_path / "whole")
    assert streamed(checkpoint, method, given, tmp_path) == wanted
    with pytest.raises(RadioError, match=r"artifacts.statistics belongs to a model with other"):
        streamed(checkpoint, method, MethodInputs(dict(list(statistics.items())[1:])), tmp_path)


KILLED = """
import os, signal, sys
from pathlib import Path
import radio.pack.streamed as module
from tests.pack.test_streamed import IDS, METHODS, MethodInputs, streamed

home = module if sys.argv[2] == "join_parts" else module.StateStore
left, real = [int(sys.argv[3])], getattr(home, sys.argv[2])

def killed(*given):
    left[0] -= 1
    if not left[0]:
        os.kill(os.getpid(), signal.SIGKILL)
    return real(*given)

setattr(home, sys.argv[2], killed)
folder = Path(sys.argv[1])
streamed(folder / "model", METHODS["gptq"], MethodInputs(blocks=IDS), folder)
"""


# a block is saved, then the hidden states after it
@pytest.mark.parametrize(
    "function, call, left", [("save", 3, 2), ("save", 4, 2), ("join_parts", 1, 0)]
)
def test_killed_at_any_point_it_goes_on_at_the_block(tmp_path, monkeypatch, function, call, left):
    checkpoint = tiny_llama(tmp_path / "model", num_hidden_layers=3)
    given = MethodInputs(blocks=IDS)
    command = [sys.executable, "-c", KILLED, str(tmp_path), function, str(call)]
    environment = os.environ | {"PYTHONPATH": os.getcwd()}
    killed = subprocess.run(command, env=environment, stderr=subprocess.DEVNULL)
    assert killed.returncode == -signal.SIGKILL and not (tmp_path / "streamed").exists()
    again = []
    real = StateStore.save
    monkeypatch.setattr(
        StateStore, "save", lambda *given: (again.append(given[0].path.name), real(*given))
    )
    wanted = in_memory(checkpoint, METHODS["gptq"], given, tmp_path / "whole")
    assert streamed(checkpoint, METHODS["gptq"], given, tmp_path) == wanted
    assert len(again) == 2 * left


def test_parts_of_another_quantization_are_not_used(tmp_path):
    checkpoint = tiny_llama(tmp_path / "model")
    streamed(checkpoint, Rtn(16), MethodInputs(), tmp_path, "groups of 16")
    wanted = in_memory(checkpoint, Rtn(32), MethodInputs(), tmp_path / "whole")
    assert streamed(checkpoint, Rtn(32), MethodInputs(), tmp_path, "groups of 32") == wanted


def quantize(tmp_path, out: str, *overrides: str) -> int:
    given = [f"artifacts.model={tmp_path / 'model.json'}", f"out={tmp_path / out}.safetensors"]
    given += [f"artifacts.tokens={tmp_path / 'tokens.safetensors'}", "rate_bits=3"]
    return main(["quantize", *given, *overrides])


@pytest.mark.parametrize(
    "method", [["method=rtn"], ["method=gptq", "method.inputs.sequences=2"]], ids=["rtn", "gptq"]
)
def test_the_step_streams_as_asked_and_writes_the_same(tmp_path, method):
    model = tiny_opt(tmp_path / "model")
    manifest = {"measured": {"path": str(model)}, "wall_s": 0.0}
    write_json(tmp_path / "model.json", manifest)
    splits = {"calibration": hashed_blocks(IDS, "tiny", [])}
    save_token_splits(tmp_path / "tokens.safetensors", splits)
    manifest_of(tmp_path / "tokens.safetensors", "tokenize")
    told = []
    for name, streaming in (("whole", "auto"), ("parts", "true")):
        assert quantize(tmp_path, name, *method, f"streaming={streaming}") == 0
        told.append(json.loads((tmp_path / f"{name}.json").read_text())["measured"])
        assert told[-1].pop("peak_bytes_per_s") > 0  # measured anew by each
    assert (told[0].pop("streamed"), told[1].pop("streamed")) == (False, True)
    assert told[1].pop("weights_read_bytes") >= (model / "model.safetensors").stat().st_size * 0.9
    assert told[0] == told[1]
    whole, parts = (tmp_path / f"{name}.safetensors" for name in ("whole", "parts"))
    assert whole.read_bytes() == parts.read_bytes()
    assert not (tmp_path / "parts.parts").exists()


def test_a_full_disk_leaves_the_parts_and_no_file(tmp_path, monkeypatch):
    checkpoint = tiny_llama(tmp_path / "model")
    real = StateStore.save
    with monkeypatch.context() as patched:

        def full(state, *content):
            if state.path.name == "block-00001.safetensors":
                patched.setattr("safetensors.torch.save_file", no_space)
            real(state, *content)

        def no_space(*_arguments: object, **_keywords: object) -> None:
            raise OSError(28, "No space left on device")

        patched.setattr(StateStore, "save", full)
        with pytest.raises(RadioError, match=r"no space to write .*block-00001"):
            streamed(checkpoint, Rtn(16), MethodInputs(), tmp_path)
    assert not (tmp_path / "streamed").exists()
    assert len(list((tmp_path / "parts").glob("block-*"))) == 1
    wanted = in_memory(checkpoint, Rtn(16), MethodInputs(), tmp_path / "whole")
    assert streamed(checkpoint, Rtn(16), MethodInputs(), tmp_path) == wanted
