"""Run small independent jobs in parallel threads."""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import torch


def in_threads(
    work: Callable[..., None], jobs: Iterable[tuple[object, ...]], device: torch.device
) -> None:
    """Call `work` with each of `jobs`; on the CPU, in as many threads as torch may use.

    This is for tensors that fit in a cache, where torch's own threads gain nothing. A job must not
    write where another one reads or writes. The first error is raised when all jobs have ended.
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
        torch.set_num_threads(threads)  # for threads created later
