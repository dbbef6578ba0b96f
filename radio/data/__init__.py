"""Texts: the packaged one, the paper's, and the user's. Only these modules fetch text."""

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

from omegaconf import DictConfig
from transformers import PreTrainedTokenizerBase

from radio.data.tokens import (
    TokenSequences,
    check_disjoint,
    load_token_sequences,
    save_token_splits,
)
from radio.runtime.build import build

__all__ = [
    "TokenSequences",
    "load_text",
    "load_token_sequences",
    "save_token_splits",
]


@runtime_checkable
class Text(Protocol):
    """The text that a YAML file of config/data builds."""

    def splits(self, tokenizer: PreTrainedTokenizerBase) -> dict[str, TokenSequences]:
        """Return the token sequences of calibration, validation and test."""
        ...


def load_text(
    spec: DictConfig | Mapping[str, Any], tokenizer: PreTrainedTokenizerBase
) -> dict[str, TokenSequences]:
    """Return the sequences of each split of the text that `spec` (config/data) describes.

    Raises:
        RadioError: the text is unavailable, is shorter than one sequence, or its splits overlap.
    """
    splits = build(spec, "data", Text).splits(tokenizer)
    check_disjoint(splits)
    return splits
