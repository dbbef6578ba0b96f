"""Jobs in threads: all are done, at once where torch may, and an error of one is not lost."""

import threading

import pytest
import torch

from radio.runtime.device import CPU
from radio.runtime.threads import in_threads


@pytest.fixture
def two_threads():
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(threads)


@pytest.mark.usefixtures("two_threads")
def test_two_at_once_each_with_one_thread_of_torch():
    both = threading.Barrier(2, timeout=30)  # passed only if two jobs wait at once
    seen = torch.zeros(8, dtype=torch.int64)

    def work(index: int) -> None:
        both.wait()
        seen[index] = torch.get_num_threads()

    in_threads(work, [(index,) for index in range(8)], CPU)
    assert seen.tolist() == [1] * 8
    assert threads_of_torch_now_and_later() == [2, 2]


def threads_of_torch_now_and_later() -> list[int]:
    """In this thread, and in one that starts now."""
    seen = [torch.get_num_threads()]
    thread = threading.Thread(target=lambda: seen.append(torch.get_num_threads()))
    thread.start()
    thread.join()
    return seen


def test_one_after_another_on_a_gpu():
    seen: list[threading.Thread] = []
    in_threads(lambda: seen.append(threading.current_thread()), [(), ()], torch.device("cuda"))
    assert seen == [threading.current_thread()] * 2


@pytest.mark.usefixtures("two_threads")
def test_an_error_comes_out_and_the_threads_of_torch_are_as_before():
    def work(index: int) -> None:
        if index == 3:
            raise ValueError("the fourth")

    with pytest.raises(ValueError, match="the fourth"):
        in_threads(work, [(index,) for index in range(8)], CPU)
    assert threads_of_torch_now_and_later() == [2, 2]
