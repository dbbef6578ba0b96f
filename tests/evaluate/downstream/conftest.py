"""A tiny model whose context fits the items, and items of the local tasks."""

import pytest

from radio.evaluate.downstream.from_text import last_word_items, next_sentence_items
from radio.evaluate.downstream.tasks import tasks_of
from radio.models import load_model, load_tokenizer
from radio.runtime.compose import compose_step
from tests.evaluate.downstream.made_up import documents
from tests.tiny import tiny_llama

COUNT = 50


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory):
    return tiny_llama(tmp_path_factory.mktemp("tiny") / "model", max_position_embeddings=1024)


@pytest.fixture(scope="session")
def tokenizer(checkpoint):
    return load_tokenizer(checkpoint)


@pytest.fixture
def model(checkpoint):
    return load_model(checkpoint)


@pytest.fixture(scope="session")
def items():
    """Return the items by task."""
    return {
        "next_sentence": next_sentence_items(documents(), COUNT, seed=0),
        "last_word": last_word_items(documents(), COUNT, seed=0),
    }


@pytest.fixture(scope="session")
def tasks():
    return tasks_of(compose_step("downstream").tasks.tasks)
