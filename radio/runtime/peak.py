"""Peak speed of a device, measured in the same process as the job it is compared with."""

import time
from collections.abc import Callable

import torch
from torch import Tensor

SIZE, STREAM_BYTES, TURNS = 1024, 2**28, 5


def matmul_flops_per_s(dtype: torch.dtype, device: torch.device) -> float:
    """Return operations per second of a product of two square matrices that fit in CPU caches."""
    a, b = torch.ones(2, SIZE, SIZE, dtype=dtype, device=device)
    return 2 * SIZE**3 / _least_s(lambda: (a @ b)[0, 0])


def read_bytes_per_s(device: torch.device) -> float:
    """Return bytes per second that a sum over more data than the caches hold reads from memory."""
    stream = torch.ones(STREAM_BYTES // 4, device=device)
    return STREAM_BYTES / _least_s(stream.sum)


def _least_s(call: Callable[[], Tensor]) -> float:
    """Return the seconds of the fastest of several calls, each until its result is available."""
    taken = []
    for _ in range(TURNS):
        start = time.perf_counter()
        call().item()
        taken.append(time.perf_counter() - start)
    return min(taken)
