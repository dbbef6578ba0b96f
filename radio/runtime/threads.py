"""Small independent jobs, several at once."""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import torch


def in_threads(
    work: Callable[..., None], jobs: Iterable[tuple[object, ...]], device: torch.device
) -> None:
    """Call `work` with each of `jobs`, on a CPU as many at once as torch may use threads.

    For tensors that fit in a cache: torch's own threads gain nothing on them. Jobs must not write
    where another reads or writes. The first error is raised when all have ended.
    """
    threads = torch.get_num_threads()
    if device.type != "cpu" or threads == 1:
        for job in jobs:
            work(*job)
        return
    try:
        with ThreadPoolExecutor(threads, initializer=partial(torch.set_num_threads, 1)) as pool:
            for done in [pool.submit(work, *job) for job in jobs]:
                done.result()
    finally:
        torch.set_num_threads(threads)  # of threads that are yet to be
