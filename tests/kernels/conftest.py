from collections.abc import Iterator

import pytest
import torch


@pytest.fixture(autouse=True)
def _empty_is_nan() -> Iterator[None]:
    """Memory that nobody wrote is NaN, in torch and in compiled code, so that it is seen."""
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)
