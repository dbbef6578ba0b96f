import pytest

from tests.paper_loop.setting import CHECKPOINTS


@pytest.fixture(params=list(CHECKPOINTS))
def checkpoint(request, tmp_path):
    """Either architecture: one gains biases, the other has them."""
    return CHECKPOINTS[request.param](tmp_path / "model")


@pytest.fixture
def llama(tmp_path):
    """One of them, where the architecture plays no part."""
    return CHECKPOINTS["llama"](tmp_path / "model")
