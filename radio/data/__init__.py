"""Texts: the packaged one, the paper's, the user's own. The only modules that fetch text."""

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
    """What a YAML of config/data builds."""

    def splits(self, tokenizer: PreTrainedTokenizerBase) -> dict[str, TokenSequences]:
        """Blocks of calibration, validation and test."""
        ...


def load_text(
    spec: DictConfig | Mapping[str, Any], tokenizer: PreTrainedTokenizerBase
) -> dict[str, TokenSequences]:
    """Blocks of the text that `spec` (a composed config/data YAML) describes.

    Raises:
        RadioError: the text cannot be had, is shorter than a block, or its splits overlap.
    """
    splits = build(spec, "data", Text).splits(tokenizer)
    check_disjoint(splits)
    return splits
