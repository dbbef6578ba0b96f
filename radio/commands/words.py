"""KEY=VALUE words of a command."""

from collections.abc import Iterable

from radio.runtime.errors import RadioError


def pairs(words: Iterable[str]) -> dict[str, str]:
    """Keys and their values; of a key given twice the last.

    Raises:
        RadioError: a word without a key or an equals sign.
    """
    found = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not key or not equals:
            raise RadioError(f"{word!r} cannot be read: write KEY=VALUE")
        found[key] = value
    return found
