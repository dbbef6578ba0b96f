"""Base of most texts: join a split's documents, tokenize once, cut into sequences."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from transformers import PreTrainedTokenizerBase

from radio.data.tokens import TokenSequences, check_sizes, hashed_blocks, joined_blocks
from radio.runtime.kinds import Blocks, ContextTokens, Word, one_of


@dataclass(frozen=True, kw_only=True)
class JoinedText(ABC):
    """A text whose splits are one long string each.

    Attributes:
        name: name of its YAML file, used in labels and messages.
        context_tokens: length of a sequence.
        blocks: maximum number of sequences of each split; None for all.
        join: separator of two documents.
        choice: which sequences are chosen: "evenly-spaced" or "first".
    """

    name: Word
    context_tokens: ContextTokens
    blocks: Blocks
    join: str
    choice: Annotated[str, one_of("evenly-spaced", "first")] = "evenly-spaced"

    @abstractmethod
    def documents(self) -> dict[str, list[str]]:
        """Return the documents of each split, in order."""

    def identities(self, documents: Sequence[str]) -> Sequence[str]:
        """Return the parts that must not occur in two splits: the documents, unless overridden."""
        return documents

    def splits(self, tokenizer: PreTrainedTokenizerBase) -> dict[str, TokenSequences]:
        """Return the sequences of each split.

        Raises:
            RadioError: a size is invalid, the text is unavailable, or a split is shorter than one
                sequence.
        """
        check_sizes(self.name, self.context_tokens, self.blocks)
        splits = {}
        for split, documents in self.documents().items():
            made = joined_blocks(
                documents,
                tokenizer,
                name=self.name,
                split=split,
                join=self.join,
                context_tokens=self.context_tokens,
                count=self.blocks[split],
                choice=self.choice,
            )
            splits[split] = hashed_blocks(made.ids, made.protocol, self.identities(documents))
        return splits
