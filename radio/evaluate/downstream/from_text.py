"""Two tasks from the test split of a text: choose the next sentence, and predict the last word.

next_sentence: two sentences of a paragraph, and four candidates for the next one, of which three
come from other documents. last_word: three sentences of a paragraph without the last word, a
lower-case word of four letters or more, as in LAMBADA (Paperno et al., 2016). A seed draws the
items.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from radio.data.joined import JoinedText
from radio.runtime.errors import RadioError
from radio.runtime.kinds import Count, Seed

# lengths in characters
CONTEXT, CHOICE, PASSAGE = range(80, 321), range(40, 161), range(120, 421)
WRONG_CHOICES = 3
# an initial or a short abbreviation (`J.`, `Dr.`, `U.S.`) does not end a sentence
END_OF_SENTENCE = re.compile(r"(?<=[a-z\d)]{2}[.!?])\s+(?=[A-Z])")
LAST_WORD = re.compile(r"(?P<context>.*[\w,;:]) (?P<target>[a-z]{4,})[.!?]", re.DOTALL)

Item = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class FromText:
    """The two tasks, with `count` items each, from documents not used for calibration."""

    text: JoinedText
    count: Count
    seed: Seed

    def items(self) -> dict[str, list[Item]]:
        """Return the items by task.

        Raises:
            RadioError: the text is not available, or too short for `count` items.
        """
        documents = self.text.documents()["test"]
        return {
            "next_sentence": next_sentence_items(documents, self.count, self.seed),
            "last_word": last_word_items(documents, self.count, self.seed),
        }


def sentences(paragraph: str) -> list[str]:
    """Return the sentences of a paragraph.

    >>> sentences("Dr. J. Doe left the U.S. Army in 1960. He wrote! Then he slept.")
    ['Dr. J. Doe left the U.S. Army in 1960.', 'He wrote!', 'Then he slept.']
    """
    return END_OF_SENTENCE.split(paragraph.strip())


def next_sentence_items(documents: Sequence[str], count: int, seed: int) -> list[Item]:
    """Return items with `context`, four `choices`, and the index of the true one as `label`.

    Raises:
        RadioError: the documents have fewer than `count` suitable sentences.
    """
    random = Random(f"next_sentence {seed}")
    candidates = [
        (document, f"{first} {second}", following)
        for document, (first, second, following) in _triples(documents)
        if len(first) + len(second) + 1 in CONTEXT and len(following) in CHOICE
    ]
    distractors = {
        document: [following for number, _, following in candidates if number != document]
        for document in dict.fromkeys(document for document, _, _ in candidates)
    }
    usable = [c for c in candidates if len(distractors[c[0]]) >= WRONG_CHOICES]
    items = []
    for document, context, true in _sample(usable, count, random):
        choices = [true, *random.sample(distractors[document], WRONG_CHOICES)]
        random.shuffle(choices)
        items.append({"context": context, "choices": choices, "label": choices.index(true)})
    return items


def last_word_items(documents: Sequence[str], count: int, seed: int) -> list[Item]:
    """Return items with `context` and its next word as `target`.

    Raises:
        RadioError: the documents have fewer than `count` passages that end in a plain word.
    """
    passages = (" ".join(triple) for _, triple in _triples(documents))
    matches = (LAST_WORD.fullmatch(text) for text in passages if len(text) in PASSAGE)
    candidates = [match.groupdict() for match in matches if match]
    return _sample(candidates, count, Random(f"last_word {seed}"))


def _triples(documents: Sequence[str]) -> Iterator[tuple[int, tuple[str, str, str]]]:
    """Yield a document's number and three consecutive sentences; each sentence is last once."""
    seen = set()
    for number, document in enumerate(documents):
        for paragraph in document.splitlines():
            parts = sentences(paragraph)
            for triple in zip(parts, parts[1:], parts[2:], strict=False):
                if triple[-1] not in seen:
                    yield number, triple
                seen.add(triple[-1])


def _sample(candidates: Sequence[Any], count: int, random: Random) -> list[Any]:
    if len(candidates) < count:
        raise RadioError(
            f"tasks.items_from.count={count} exceeds the {len(candidates)} items that the test "
            "split of the text has: lower it or give more text"
        )
    return random.sample(candidates, count)
