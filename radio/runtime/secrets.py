"""Mask passwords and tokens in addresses, so that no log or manifest shows them."""

import logging
import re
from collections.abc import Mapping
from typing import Any

# user, password or token between the scheme and the host of an address
USER_INFO = re.compile(r"(?<=://)[^/\s?#'\"]*@")


def masked(text: str) -> str:
    """Return `text` without the user information of the addresses in it.

    >>> masked("https://me:secret@wandb.example.org:8080/x does not answer")
    'https://***@wandb.example.org:8080/x does not answer'
    """
    return USER_INFO.sub("***@", text)


def masked_values(value: Any) -> Any:
    """Return a resolved configuration with all text masked."""
    if isinstance(value, str):
        return masked(value)
    if isinstance(value, Mapping):
        return {key: masked_values(item) for key, item in value.items()}
    if isinstance(value, list):
        return [masked_values(item) for item in value]
    return value


class MaskingFormatter(logging.Formatter):
    """Format log records, including tracebacks, with addresses masked."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the formatted record, masked."""
        return masked(super().format(record))
