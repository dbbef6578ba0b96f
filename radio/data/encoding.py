"""Tokenize a long text window by window, with the same ids as for the whole string.

A tokenizer takes about 200 bytes per character, so a string of 100 MB does not fit in memory. The
text is cut into overlapping windows that are tokenized separately. Two neighbours are joined at a
token that both have at the same position, inside a run of tokens that both share. Left of this seam
the left window is right, since the end of its text is far away; right of it the right window is
right, since the beginning of its text is far away. The run must cross several borders between
words, spaces and punctuation, where pre-tokenizers (byte-level BPE) and merges (sentencepiece)
start over. If the overlap has no such run, as in a long run of spaces or a word of 200 kB, the left
window is doubled.
"""

from typing import NamedTuple

import torch
from jaxtyping import Int
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from radio.runtime.errors import RadioError

# characters of a window, and of the overlap of two windows
WINDOW, OVERLAP = 200_000, 4_000
# shared tokens on each side of a seam, and word borders among them
AGREEING, BORDERS = 24, 4
# maximum characters of a text for a tokenizer without offsets
WITHOUT_OFFSETS = 10_000_000


class Token(NamedTuple):
    """A token and the range of characters that it covers."""

    id: int
    start: int
    end: int


def encode(
    tokenizer: PreTrainedTokenizerBase, text: str, window: int = WINDOW, overlap: int = OVERLAP
) -> Int[Tensor, " tokens"]:
    """Return the ids of `text` with the tokenizer's own special tokens around it.

    Args:
        tokenizer: any tokenizer; one without offsets (not "fast") takes texts of up to 10 million
            characters.
        text: the whole text.
        window: characters tokenized at once, at least twice `overlap`.
        overlap: characters that two neighbouring windows share.

    Raises:
        RadioError: the text contains half a surrogate pair, or is too long for the tokenizer.
    """
    if not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text):
        raise RadioError(
            "the text holds half of a surrogate pair, which is no character: write the text again "
            "in UTF-8"
        )
    if len(text) <= window:
        return torch.tensor(_ids(tokenizer, text, special=True), dtype=torch.int64)
    if not tokenizer.is_fast:
        if len(text) > WITHOUT_OFFSETS:
            raise RadioError(
                f"the text has {len(text)} characters, and the tokenizer "
                f"{type(tokenizer).__name__} takes {WITHOUT_OFFSETS} at most, since it gives no "
                "offsets: give less text, or a checkpoint with a tokenizer.json"
            )
        return torch.tensor(_ids(tokenizer, text, special=True), dtype=torch.int64)
    begin, end = _specials(tokenizer)
    parts = [torch.tensor(begin, dtype=torch.int32)]
    start, stop = 0, window
    first = 0  # earlier tokens of the window belong to the previous window
    left = _tokens(tokenizer, text, start, stop)
    while stop < len(text):
        following = stop - overlap
        right = _tokens(tokenizer, text, following, following + window)
        seam = _seam(text, left, right)
        if seam is None or seam[0] < first:
            stop = start + 2 * (stop - start)
            left = _tokens(tokenizer, text, start, stop)
            continue
        parts.append(_as_tensor(left[first : seam[0]]))
        left, first = right, seam[1]
        start, stop = following, following + window
    parts += [_as_tensor(left[first:]), torch.tensor(end, dtype=torch.int32)]
    return torch.cat(parts).to(torch.int64)


def _ids(tokenizer: PreTrainedTokenizerBase, text: str, *, special: bool) -> list[int]:
    # verbose=False: texts longer than the model's context are intended here
    found = tokenizer(text, add_special_tokens=special, return_attention_mask=False, verbose=False)[
        "input_ids"
    ]
    return list(found)


def _specials(tokenizer: PreTrainedTokenizerBase) -> tuple[list[int], list[int]]:
    """Return the ids that the tokenizer puts before and after a text."""
    bare, whole = (_ids(tokenizer, "a", special=special) for special in (False, True))
    at = next(i for i in range(len(whole)) if whole[i : i + len(bare)] == bare)
    return whole[:at], whole[at + len(bare) :]


def _tokens(tokenizer: PreTrainedTokenizerBase, text: str, start: int, stop: int) -> list[Token]:
    """Return the tokens of `text[start:stop]` with their positions in `text`."""
    found = tokenizer(
        text[start:stop],
        add_special_tokens=False,
        return_offsets_mapping=True,
        return_attention_mask=False,
        verbose=False,
    )
    return [
        Token(id, start + first, start + last)
        for id, (first, last) in zip(found["input_ids"], found["offset_mapping"], strict=True)
    ]


def _seam(text: str, left: list[Token], right: list[Token]) -> tuple[int, int] | None:
    """Return the lengths (i, j) for which `left[:i] + right[j:]` are the tokens of the text.

    Return None if they share no run that is long enough.
    """
    places = {token: index for index, token in enumerate(right) if token.start <= left[-1].end}
    # number of border tokens of the overlap among the first i tokens of `left`
    borders = [0]
    for token in left:
        borders.append(borders[-1] + (token.end > right[0].start and _at_border(text, token)))
    shared = [
        i
        for i in range(AGREEING, len(left) - AGREEING)
        if borders[i] - borders[i - AGREEING] >= BORDERS
        and borders[i + AGREEING] - borders[i] >= BORDERS
        and left[i] in places
    ]
    middle = (right[0].start + left[-1].end) / 2
    for i in sorted(shared, key=lambda i: abs(left[i].start - middle)):
        j = places[left[i]]
        if (
            j >= AGREEING
            and left[i - AGREEING : i + AGREEING] == right[j - AGREEING : j + AGREEING]
        ):
            return i, j
    return None


def _at_border(text: str, token: Token) -> bool:
    """Return whether a token ends at a border between words, spaces and punctuation."""
    if not 0 < token.end < len(text):
        return False
    return _kind(text[token.end - 1]) != _kind(text[token.end])


def _kind(character: str) -> int:
    return 0 if character.isspace() else 1 if character.isalnum() else 2


def _as_tensor(tokens: list[Token]) -> Int[Tensor, " tokens"]:
    return torch.tensor([token.id for token in tokens], dtype=torch.int32)
