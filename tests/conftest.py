"""What every test runs under: one thread, no network, no W&B, fixed seeds."""

import os
import random
from collections.abc import Iterator

QUIET = {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OMP_WAIT_POLICY": "passive",
    "TOKENIZERS_PARALLELISM": "false",
    "HF_HUB_OFFLINE": "1",
    "HF_DATASETS_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "WANDB_MODE": "disabled",
    "MPLBACKEND": "agg",
}
os.environ |= QUIET  # before torch, transformers and wandb read it

import jaxtyping  # noqa: E402
import numpy as np  # noqa: E402
import pytest  # noqa: E402
import torch  # noqa: E402
from hypothesis import settings  # noqa: E402

torch.set_num_threads(1)
# the same examples every time, and no verdict by a clock
settings.register_profile("radio", deadline=None, derandomize=True)
settings.load_profile("radio")
if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"


@pytest.fixture(autouse=True)
def _seeded() -> None:
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002 - libraries draw from it
    torch.manual_seed(0)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    # the shapes of all arguments are checked, but where the same calls come by the hundred thousand
    jaxtyping.config.update("jaxtyping_disable", item.get_closest_marker("slow") is not None)
    return (yield)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    # files with long tests first: begun last, one would keep one core while the other waits; before
    # them what waits for Slurm, as long as the checks of types beside it keep a core
    long = {item.path for item in items if "slow" in item.keywords}
    items.sort(key=lambda item: (item.path.name != "test_slurm.py", item.path not in long))
    if not torch.cuda.is_available():
        for item in items:
            if "gpu" in item.keywords:
                item.add_marker(pytest.mark.skip(reason="no CUDA device"))
