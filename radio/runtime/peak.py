"""What a device does at best, to compare a job with in the same process."""

import time
from collections.abc import Callable

import torch
from torch import Tensor

SIZE, STREAM_BYTES, TURNS = 1024, 2**28, 5


def matmul_flops_per_s(dtype: torch.dtype, device: torch.device) -> float:
    """Operations a second of a product of two square matrices that fit in a processor's caches."""
    a, b = torch.ones(2, SIZE, SIZE, dtype=dtype, device=device)
    return 2 * SIZE**3 / _least_s(lambda: (a @ b)[0, 0])


def read_bytes_per_s(device: torch.device) -> float:
    """Bytes a second that a sum over more than the caches hold reads from memory."""
    stream = torch.ones(STREAM_BYTES // 4, device=device)
    return STREAM_BYTES / _least_s(stream.sum)


def _least_s(call: Callable[[], Tensor]) -> float:
    """Seconds of the fastest of some calls, each until its number is there."""
    taken = []
    for _ in range(TURNS):
        start = time.perf_counter()
        call().item()
        taken.append(time.perf_counter() - start)
    return min(taken)
