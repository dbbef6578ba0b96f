"""What the machine does at best: rates of the fastest call, by a clock that is made up."""

import itertools
from types import SimpleNamespace

import pytest
import torch

from radio.runtime import peak
from radio.runtime.device import CPU


@pytest.fixture
def clock(monkeypatch):
    """Calls seem to take 3, 2, 5, 4 and 6 seconds."""
    ends = itertools.accumulate([0.0, 3.0, 0.0, 2.0, 0.0, 5.0, 0.0, 4.0, 0.0, 6.0])
    monkeypatch.setattr(peak, "time", SimpleNamespace(perf_counter=ends.__next__))


def test_products_of_matrices(clock):
    assert peak.matmul_flops_per_s(torch.float32, CPU) == 2 * 1024**3 / 2


def test_reading(clock):
    assert peak.read_bytes_per_s(CPU) == 2**28 / 2
