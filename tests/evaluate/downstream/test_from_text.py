"""Items from documents: the true continuation, distractors from other documents, reproducible."""

import pytest

from radio.evaluate.downstream.from_text import (
    CHOICE,
    CONTEXT,
    FromText,
    last_word_items,
    next_sentence_items,
)
from radio.runtime.errors import RadioError
from tests.evaluate.downstream.made_up import documents, written

DOCUMENTS = documents()


def test_distractors_come_from_other_documents():
    items = next_sentence_items(DOCUMENTS, 50, seed=0)
    for item in items:
        true = item["choices"][item["label"]]
        here = written(true)["document"]
        assert f"{item['context']} {true}" in DOCUMENTS[here]
        assert len(set(item["choices"])) == 4
        elsewhere = [choice for choice in item["choices"] if choice != true]
        assert all(written(choice)["document"] != here for choice in elsewhere)
        assert len(item["context"]) in CONTEXT
        assert all(len(choice) in CHOICE for choice in item["choices"])
    assert len({item["context"] for item in items}) == 50
    assert {item["label"] for item in items} == {0, 1, 2, 3}


def test_the_last_word_is_left_out():
    for item in last_word_items(DOCUMENTS, 50, seed=0):
        assert any(f"{item['context']} {item['target']}." in text for text in DOCUMENTS)
        assert item["target"].isalpha() and item["target"].islower()


@pytest.mark.parametrize("make", [next_sentence_items, last_word_items])
def test_the_seed_decides(make):
    assert make(DOCUMENTS, 20, seed=0) == make(DOCUMENTS, 20, seed=0)
    assert make(DOCUMENTS, 20, seed=0) != make(DOCUMENTS, 20, seed=1)


@pytest.mark.parametrize("make", [next_sentence_items, last_word_items])
def test_a_text_that_is_too_short(make):
    with pytest.raises(RadioError, match=r"count=500 exceeds the \d+ items.*give more text"):
        make(DOCUMENTS, 500, seed=0)
    with pytest.raises(RadioError, match="exceeds the 0 items"):
        make([], 1, seed=0)


def test_one_document_has_no_distractors():
    with pytest.raises(RadioError, match="exceeds the 0 items"):
        next_sentence_items(DOCUMENTS[:1], 1, seed=0)


def test_repeated_sentences_give_one_item():
    items = last_word_items([DOCUMENTS[0], DOCUMENTS[0]], 32, seed=0)
    assert len({item["context"] for item in items}) == 32
    with pytest.raises(RadioError, match="exceeds the 32 items"):
        last_word_items([DOCUMENTS[0], DOCUMENTS[0]], 33, seed=0)


def test_only_the_test_split_is_read():
    class Text:
        def documents(self):
            return {"calibration": [], "validation": [], "test": DOCUMENTS}

    source = FromText.__new__(FromText)
    vars(source).update(text=Text(), count=10, seed=0)
    items = source.items()
    assert items["next_sentence"] == next_sentence_items(DOCUMENTS, 10, seed=0)
    assert items["last_word"] == last_word_items(DOCUMENTS, 10, seed=0)
