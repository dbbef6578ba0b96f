"""Two tasks out of the test split of a text: choose the next sentence, and say the last word.

next_sentence: two sentences of a paragraph, and which of four comes next; the other three are drawn
from other documents. last_word: three sentences of a paragraph without the last word, a lower-case
word of four letters or more, as in LAMBADA (Paperno et al., 2016). Items are drawn by the seed.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from radio.data.joined import JoinedText
from radio.runtime.errors import RadioError

# in characters
CONTEXT, CHOICE, PASSAGE = range(80, 321), range(40, 161), range(120, 421)
WRONG_CHOICES = 3
# an initial or a short abbreviation (`J.`, `Dr.`, `U.S.`) ends no sentence
END_OF_SENTENCE = re.compile(r"(?<=[a-z\d)]{2}[.!?])\s+(?=[A-Z])")
LAST_WORD = re.compile(r"(?P<context>.*[\w,;:]) (?P<target>[a-z]{4,})[.!?]", re.DOTALL)

Item = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class FromText:
    """The two tasks, of `count` items each, out of documents that nothing was calibrated on."""

    text: JoinedText
    count: int
    seed: int

    def items(self) -> dict[str, list[Item]]:
        """Items by task.

        Raises:
            RadioError: the text cannot be had, or is too short for so many items.
        """
        documents = self.text.documents()["test"]
        return {
            "next_sentence": next_sentence_items(documents, self.count, self.seed),
            "last_word": last_word_items(documents, self.count, self.seed),
        }


def sentences(paragraph: str) -> list[str]:
    """Sentences of a paragraph.

    >>> sentences("Dr. J. Doe left the U.S. Army in 1960. He wrote! Then he slept.")
    ['Dr. J. Doe left the U.S. Army in 1960.', 'He wrote!', 'Then he slept.']
    """
    return END_OF_SENTENCE.split(paragraph.strip())


def next_sentence_items(documents: Sequence[str], count: int, seed: int) -> list[Item]:
    """Items with `context`, four `choices`, and the place of the true one as `label`.

    Raises:
        RadioError: the documents have fewer places to ask at.
    """
    random = Random(f"next_sentence {seed}")
    places = [
        (document, f"{first} {second}", following)
        for document, (first, second, following) in _neighbours(documents)
        if len(first) + len(second) + 1 in CONTEXT and len(following) in CHOICE
    ]
    elsewhere = {
        document: [other for number, _, other in places if number != document]
        for document in dict.fromkeys(document for document, _, _ in places)
    }
    drawn = _drawn(
        [place for place in places if len(elsewhere[place[0]]) >= WRONG_CHOICES], count, random
    )
    found = []
    for document, context, true in drawn:
        choices = [true, *random.sample(elsewhere[document], WRONG_CHOICES)]
        random.shuffle(choices)
        found.append({"context": context, "choices": choices, "label": choices.index(true)})
    return found


def last_word_items(documents: Sequence[str], count: int, seed: int) -> list[Item]:
    """Items with `context` and its next word as `target`.

    Raises:
        RadioError: the documents have fewer passages that end in a plain word.
    """
    passages = (" ".join(three) for _, three in _neighbours(documents))
    matches = (LAST_WORD.fullmatch(text) for text in passages if len(text) in PASSAGE)
    found = [match.groupdict() for match in matches if match]
    return _drawn(found, count, Random(f"last_word {seed}"))


def _neighbours(documents: Sequence[str]) -> Iterator[tuple[int, tuple[str, str, str]]]:
    """Number of a document and three sentences in a row of a paragraph; each is last once."""
    seen = set()
    for number, document in enumerate(documents):
        for paragraph in document.splitlines():
            parts = sentences(paragraph)
            for three in zip(parts, parts[1:], parts[2:], strict=False):
                if three[-1] not in seen:
                    yield number, three
                seen.add(three[-1])


def _drawn(found: Sequence[Any], count: int, random: Random) -> list[Any]:
    if len(found) < count:
        raise RadioError(
            f"tasks.items_from.count={count} exceeds the {len(found)} items that the test split "
            "of the text has: lower it or give more text"
        )
    return random.sample(found, count)
