"""Which device a setting stands for, what a manifest says of it, and where torch is asked."""

import re
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import Tensor

from radio.runtime import device
from radio.runtime.device import CPU, default_device, devices, to_device
from radio.runtime.errors import RadioError

ROOT = Path(__file__).parents[2]
FIRST, SECOND = torch.device("cuda", 0), torch.device("cuda", 1)


@pytest.fixture
def gpus(monkeypatch):
    """Sets how many GPUs torch sees, and what each has held at most."""

    def see(count: int, peaks: tuple[int, ...] = ()) -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
        monkeypatch.setattr(torch.cuda, "is_initialized", lambda: bool(peaks))
        monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda gpu: peaks[gpu.index])
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda gpu: "XYZ 80GB")

    return see


@pytest.mark.parametrize(
    "setting, without, with_two",
    [
        ("auto", (CPU,), (FIRST,)),
        ("cpu", (CPU,), (CPU,)),
        ("cuda", None, (FIRST,)),
        ("cuda:1", None, (SECOND,)),
        ("spread", None, (FIRST, SECOND)),
        ("cuda:2", None, None),
        ("gpu", None, None),
    ],
)
def test_what_a_setting_stands_for(gpus, setting, without, with_two):
    for count, expected in ((0, without), (2, with_two)):
        gpus(count)
        if expected is None:
            with pytest.raises(RadioError, match=f"device={setting} is none that torch sees"):
                devices(setting)
        else:
            assert devices(setting) == expected


def test_a_refusal_names_what_there_is(gpus):
    gpus(1)
    with pytest.raises(RadioError, match=r"RADIO_DEVICE to auto, cpu, cuda, spread, cuda:0"):
        devices("cuda:1")


@pytest.mark.parametrize(
    "peaks, used",
    [((), None), ((0, 0), None), ((0, 5), "XYZ 80GB"), ((7, 5), "2 x XYZ 80GB")],
)
def test_gpus_count_as_used_where_memory_was_taken(gpus, peaks, used):
    """That one is there, or was asked for its size, makes it no GPU that a number was made on."""
    gpus(2, peaks)
    assert device.gpus_used() == used
    assert device.gpu_peak_bytes() == sum(peaks)


@dataclass(frozen=True)
class Parts:
    numbers: Tensor
    more: tuple[Tensor, ...]
    word: str


def test_moved_reaches_into_dataclasses_tuples_and_mappings():
    parts = Parts(torch.ones(2), (torch.ones(3), torch.ones(4)), "word")
    held = to_device({"parts": parts, "none": None}, torch.device("meta"))
    found = held["parts"]
    assert [t.device.type for t in (found.numbers, *found.more)] == ["meta"] * 3
    assert (found.word, held["none"], parts.numbers.device) == ("word", None, CPU)
    assert to_device(parts, CPU) is parts


def test_where_code_that_names_no_device_makes_tensors():
    with default_device(torch.device("meta")):
        assert torch.zeros(2).is_meta
    with default_device(CPU):
        assert torch.zeros(2).device == CPU


def test_torch_is_asked_for_gpus_in_one_module():
    """No `.cuda()` anywhere."""
    asking = {
        path.relative_to(ROOT).as_posix()
        for folder in ("radio", "notebooks")
        for path in (ROOT / folder).rglob("*.py")
        if re.search(r"torch\.cuda|\.cuda\(", path.read_text())
    }
    assert asking == {"radio/runtime/device.py"}
