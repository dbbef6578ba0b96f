r"""Token sequences of a text: cut, chosen, labelled, hashed, stored.

A text has three disjoint splits (calibration, validation, test). Each is a set of sequences of
equal length with a label that says how they were made and a hash of their ids:

    wikipedia-test/512x40/evenly-spaced/bos=none/join=\n\n

means: 40 sequences of 512 tokens, evenly spaced over the text; the tokenizer adds no token in
front; the documents were joined by two newlines and tokenized as one string.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from radio.data.encoding import encode
from radio.runtime.errors import RadioError
from radio.runtime.tensors import load_tensors, save_tensors

SPLITS = ("calibration", "validation", "test")
CHOICES = ("evenly-spaced", "first")

# a shorter document (a heading, a blank line) may occur in two splits by chance
IDENTIFYING_CHARACTERS = 200


@dataclass(frozen=True)
class TokenSequences:
    """Token sequences of one split of a text.

    Attributes:
        ids: token ids, one sequence per row.
        protocol: label that says how they were made.
        sha256: hash of the ids as little-endian 32-bit integers, row by row.
        documents: short hashes of the documents they were cut from, for `check_disjoint`.
    """

    ids: Int[Tensor, "blocks length"]
    protocol: str
    sha256: str
    documents: tuple[str, ...] = ()

    def spaced(self, most: int) -> "TokenSequences":
        """Return at most `most` of the sequences, evenly spaced.

        Raises:
            RadioError: `most` is not positive.
        """
        if most < 1:
            raise RadioError(f"validation_blocks={most} is too few: set 1 or more")
        count = min(most, len(self.ids))
        ids = self.ids[torch.arange(count) * len(self.ids) // count]
        protocol = f"{self.protocol}/{count} of {len(self.ids)} blocks"
        return replace(self, ids=ids, protocol=protocol, sha256=sha256_of_ids(ids))


def check_sizes(name: str, context_tokens: Any, blocks: Mapping[str, Any]) -> None:
    """Refuse sizes that no text can meet.

    Raises:
        RadioError: `context_tokens` is not a number of at least 2, a split is missing or unknown,
            or its number of sequences is neither positive nor null.
    """
    if not isinstance(context_tokens, int) or context_tokens < 2:
        raise RadioError(
            f"data.context_tokens={context_tokens} of data={name} is not a length: give a whole "
            "number of at least 2, so that a block has a target"
        )
    if set(blocks) != set(SPLITS):
        raise RadioError(
            f"data.blocks of data={name} names {', '.join(blocks)}: give exactly "
            f"{', '.join(SPLITS)}"
        )
    for split, count in blocks.items():
        if count is not None and (not isinstance(count, int) or count < 1):
            raise RadioError(
                f"data.blocks.{split}={count} of data={name} is not a number of blocks: give 1 or "
                "more, or null for all"
            )


def bos_rule(tokenizer: PreTrainedTokenizerBase, ids: Int[Tensor, " tokens"]) -> str:
    """Return "once" if the tokenizer put its begin-of-sequence token before `ids`, else "none"."""
    begins = len(ids) > 0 and int(ids[0]) == tokenizer.bos_token_id
    return "once" if begins else "none"


def cut_blocks(ids: Int[Tensor, " tokens"], context_tokens: int) -> Int[Tensor, "blocks length"]:
    """Return consecutive sequences of `context_tokens`; the last partial one is dropped.

    >>> cut_blocks(torch.arange(7), 3).tolist()
    [[0, 1, 2], [3, 4, 5]]
    """
    count = len(ids) // context_tokens
    return ids[: count * context_tokens].view(count, context_tokens)


def choose_blocks(
    blocks: Int[Tensor, "available length"], count: int | None, choice: str
) -> Int[Tensor, "blocks length"]:
    """Return at most `count` sequences: the first, or the middle ones of `count` equal ranges.

    >>> choose_blocks(torch.arange(10)[:, None], 3, "evenly-spaced").flatten().tolist()
    [1, 5, 8]
    """
    available = len(blocks)
    if count is None or count >= available:
        return blocks
    if choice == "first":
        return blocks[:count]
    return blocks[(2 * torch.arange(count) + 1) * available // (2 * count)]


def joined_blocks(
    documents: Sequence[str],
    tokenizer: PreTrainedTokenizerBase,
    *,
    name: str,
    split: str,
    join: str,
    context_tokens: int,
    count: int | None,
    choice: str,
) -> TokenSequences:
    """Join documents, tokenize once, cut, and choose `count` sequences (None: all).

    Raises:
        RadioError: the text is shorter than one sequence, or `choice` is unknown.
    """
    if choice not in CHOICES:
        raise RadioError(f"data.choice={choice} is unknown: choose {' or '.join(CHOICES)}")
    ids = encode(tokenizer, join.join(documents))
    cut = cut_blocks(ids, context_tokens)
    if len(cut) == 0:
        raise RadioError(
            f"data={name} split {split} has {len(ids)} tokens, fewer than one block of "
            f"data.context_tokens={context_tokens}: lower it or give more text"
        )
    chosen = choose_blocks(cut, count, choice)
    how = "all" if len(chosen) == len(cut) else choice
    label = protocol_label(name, split, chosen, how, bos_rule(tokenizer, ids), join)
    return hashed_blocks(chosen, label, documents)


def protocol_label(
    name: str, split: str, ids: Int[Tensor, "blocks length"], how: str, bos: str, join: str | None
) -> str:
    """Return the label of a split: one line, no spaces; `join` is None if nothing is joined."""
    count, length = ids.shape
    between = "none" if join is None else json.dumps(join)[1:-1].replace(" ", "space")
    return f"{name}-{split}/{length}x{count}/{how}/bos={bos}/join={between}"


def hashed_blocks(
    ids: Int[Tensor, "blocks length"], protocol: str, documents: Sequence[str]
) -> TokenSequences:
    """Return `TokenSequences` with the hashes of the ids and of the documents."""
    hashes = [
        hashlib.sha256(document.encode()).hexdigest()[:16]
        for document in documents
        if len(document) >= IDENTIFYING_CHARACTERS
    ]
    return TokenSequences(ids, protocol, sha256_of_ids(ids), tuple(hashes))


def sha256_of_ids(ids: Int[Tensor, "..."]) -> str:
    """Return the SHA-256 of token ids as little-endian 32-bit integers."""
    return hashlib.sha256(ids.to(torch.int32).numpy().astype("<i4").tobytes()).hexdigest()


def check_disjoint(splits: Mapping[str, TokenSequences]) -> None:
    """Refuse splits that share a sequence or a document.

    Raises:
        RadioError: two splits share one.
    """
    for (one, first), (other, second) in combinations(splits.items(), 2):
        blocks = {sha256_of_ids(row) for row in first.ids}
        shared = len(blocks & {sha256_of_ids(row) for row in second.ids})
        documents = len(set(first.documents) & set(second.documents))
        if shared or documents:
            raise RadioError(
                f"splits {one} and {other} of {first.protocol.partition('-')[0]} share {shared} "
                f"blocks and {documents} documents: remove the repeated text from one of them"
            )


def save_token_splits(path: Path, splits: Mapping[str, TokenSequences]) -> None:
    """Write all splits to one safetensors file."""
    tensors = {split: blocks.ids.to(torch.int32) for split, blocks in splits.items()}
    metadata = {
        split: {
            "protocol": blocks.protocol,
            "sha256": blocks.sha256,
            "documents": list(blocks.documents),
        }
        for split, blocks in splits.items()
    }
    save_tensors(path, tensors, metadata)


def load_token_sequences(path: Path, split: str) -> TokenSequences:
    """Read one split of a file of `save_token_splits`; its ids become 64-bit integers.

    Raises:
        RadioError: the file is absent or corrupt, or has no such split.
    """
    tensors, metadata = load_tensors(path)
    if split not in tensors:
        raise RadioError(f"{path} has no split {split}: choose one of {', '.join(sorted(tensors))}")
    ids = tensors[split].to(torch.int64)
    entry = metadata.get(split, {})
    if ids.dim() != 2 or entry.get("sha256") != sha256_of_ids(ids):
        raise RadioError(
            f"{path} is corrupt (the tokens of split {split} do not match their hash): delete it "
            "and run the step tokenize again"
        )
    return TokenSequences(ids, entry["protocol"], entry["sha256"], tuple(entry["documents"]))


def sample_sequences(
    blocks: Int[Tensor, "blocks length"], count: int, seed: int
) -> Int[Tensor, "count length"]:
    """Return `count` sequences in random order, drawn from the seed."""
    order = torch.randperm(len(blocks), generator=torch.Generator().manual_seed(seed))
    return blocks[order[:count]]
