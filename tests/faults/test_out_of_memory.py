"""Too little memory is told with figures, and never kept as a fault of the checkpoint."""

import errno
import subprocess
import sys
from pathlib import Path

import httpx2
import pytest
import torch
import transformers
from huggingface_hub.errors import LocalEntryNotFoundError
from safetensors import SafetensorError

from radio.cli import main
from radio.models import StreamedModel, hub, load_model, load_tokenizer, stored
from radio.models.hub import snapshot
from radio.models.weight_files import inspect_weights
from radio.runtime.errors import MachineError, RadioError
from radio.runtime.exhausted import exhausted
from radio.runtime.memory import available_bytes, memory_bytes
from radio.runtime.unavailable import failure_recorded, why_unavailable
from tests.tiny import tiny_llama

OF_MEMORY = [
    MemoryError(),
    MemoryError("std::bad_alloc"),
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    RuntimeError(
        "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't "
        "allocate memory: you tried to allocate 4096000000000 bytes"
    ),
    OSError(errno.ENOMEM, "Cannot allocate memory"),
    SafetensorError("Error while mapping: Cannot allocate memory (os error 12)"),
]
OTHERS = [ValueError("a bad value"), RuntimeError("a bad shape"), OSError(errno.ENOENT, "no file")]


@pytest.mark.parametrize("error", OF_MEMORY, ids=repr)
def test_errors_of_memory_are_told_with_figures(error: Exception) -> None:
    outer = RuntimeError("while loading")
    outer.__cause__ = error
    for raised in (error, outer):
        said = str(exhausted(raised, "loading the model in DIR", 13 * 10**9))
        assert said.startswith("not enough memory for loading the model in DIR")
        assert "13 GB" in said and "GB is available" in said


@pytest.mark.parametrize("error", OTHERS, ids=repr)
def test_other_errors_are_not(error: Exception) -> None:
    assert exhausted(error, "loading", None) is None


def test_what_is_available_is_less_than_there_is() -> None:
    assert 0 < available_bytes() <= memory_bytes()


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    return tiny_llama(tmp_path / "model")


READERS = {
    "load_model": (load_model, transformers.AutoModelForCausalLM, "from_pretrained"),
    "load_tokenizer": (load_tokenizer, transformers.AutoTokenizer, "from_pretrained"),
    "inspect_weights": (inspect_weights, stored._Lazy, "__getitem__"),
    "StreamedModel": (
        lambda path: StreamedModel(path, torch.float32),
        stored._Lazy,
        "__getitem__",
    ),
}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("error", OF_MEMORY[:4], ids=repr)
def test_no_reader_calls_it_corrupt(
    reader: str, error: Exception, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, owner, name = READERS[reader]

    def fail(*_arguments: object, **_settings: object) -> None:
        raise error

    monkeypatch.setattr(owner, name, fail)
    with pytest.raises(MachineError, match=r"not enough memory for .*GB is available") as caught:
        read(checkpoint)
    assert "corrupt" not in str(caught.value)


def test_prepare_does_not_keep_it(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nor what an earlier attempt was refused for, which may be mended."""
    out = checkpoint.parent / "made" / "model.json"
    call = ["prepare", "model=local", f"model.path={checkpoint}", f"out={out}"]
    weights = (checkpoint / "model.safetensors").rename(checkpoint / "elsewhere")
    assert main(call) == 2
    assert "has no weights" in str(why_unavailable(out.parent))
    weights.rename(checkpoint / "model.safetensors")

    def fail(*_arguments: object) -> None:
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr(stored._Lazy, "__getitem__", fail)
        assert main(call) == 2
    assert "not enough memory" in capsys.readouterr().err
    assert why_unavailable(out.parent) is None
    assert main(call) == 0


@pytest.mark.parametrize("error", [MachineError("full"), KeyboardInterrupt(), SystemExit(143)])
def test_what_passes_is_not_kept(error: BaseException, tmp_path: Path) -> None:
    with pytest.raises(type(error)), failure_recorded(tmp_path):
        raise error
    assert why_unavailable(tmp_path) is None


@pytest.mark.parametrize(
    "error, kept",
    [
        (LocalEntryNotFoundError("offline"), True),
        (httpx2.ConnectError("no route"), True),
        (httpx2.ReadTimeout("slow"), False),
        (TimeoutError("slow"), False),
        (OSError(errno.ENOSPC, "No space left on device"), False),
    ],
    ids=repr,
)
def test_a_hub_that_is_absent_is_kept_and_one_that_is_slow_is_not(
    error: Exception, kept: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_arguments: object) -> None:
        raise error

    monkeypatch.setattr(hub, "_fetch", fail)
    with pytest.raises(RadioError), failure_recorded(tmp_path):
        snapshot("a/b", "0" * 40)
    assert (why_unavailable(tmp_path) is not None) == kept


LIMITED = """
import resource, sys
from pathlib import Path
from radio.models import load_model
from radio.runtime.errors import MachineError
import transformers.models.llama.modeling_llama
taken = next(int(line.split()[1]) * 1024 for line in open("/proc/self/status") if "VmSize" in line)
resource.setrlimit(resource.RLIMIT_AS, (taken + 40_000_000, resource.RLIM_INFINITY))
try:
    load_model(Path(sys.argv[1]))
except MachineError as error:
    print(error)
"""


def test_a_process_that_may_take_no_more(tmp_path: Path) -> None:
    """The operating system's own limit, 40 MB above what the libraries take."""
    path = tiny_llama(tmp_path / "model", vocab_size=300_000)
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, str(path)], capture_output=True, text=True, check=True
    )
    assert f"not enough memory for reading {path}" in done.stdout, done.stderr
    assert "takes at least 0.0771 GB: 0.0" in done.stdout
