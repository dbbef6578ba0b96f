"""What this machine does at best, to compare a job with in the same process."""

import time
from collections.abc import Callable

import torch

SIZE, STREAM_BYTES, TURNS = 1024, 2**28, 5


def matmul_flops_per_s(dtype: torch.dtype) -> float:
    """Operations a second of a product of two square matrices that fit in the caches."""
    a, b = torch.ones(2, SIZE, SIZE, dtype=dtype)
    return 2 * SIZE**3 / _least_s(lambda: a @ b)


def read_bytes_per_s() -> float:
    """Bytes a second that a sum over more than the caches hold reads from memory."""
    stream = torch.ones(STREAM_BYTES // 4)
    return STREAM_BYTES / _least_s(stream.sum)


def _least_s(call: Callable[[], object]) -> float:
    """Seconds of the fastest of some calls."""
    taken = []
    for _ in range(TURNS):
        start = time.perf_counter()
        call()
        taken.append(time.perf_counter() - start)
    return min(taken)
