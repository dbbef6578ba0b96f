"""Tiny checkpoints, made once a session, and copies of them for tests that do damage."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.tiny import tiny_llama, tiny_opt


@pytest.fixture(scope="session")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_llama(tmp_path_factory.mktemp("checkpoints") / "llama")


@pytest.fixture(scope="session")
def opt(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_opt(tmp_path_factory.mktemp("checkpoints") / "opt")


@pytest.fixture
def damaged(llama: Path, tmp_path: Path) -> Callable[[Callable[[Path], object]], Path]:
    """A copy of the tiny Llama after `damage(directory)`."""

    def copy(damage: Callable[[Path], object]) -> Path:
        target = tmp_path / "damaged"
        shutil.copytree(llama, target)
        damage(target)
        return target

    return copy
