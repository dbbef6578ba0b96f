"""Parse the KEY=VALUE words of a command."""

from collections.abc import Iterable, Mapping, MutableMapping

from radio.rate import KINDS, Target, requested_rate
from radio.runtime.errors import RadioError


def pairs(words: Iterable[str]) -> dict[str, str]:
    """Return values by key; if a key is repeated, the last value counts.

    Raises:
        RadioError: a word has no key or no equals sign.
    """
    values = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not key or not equals:
            raise RadioError(f"{word!r} cannot be read: write KEY=VALUE")
        values[key] = value
    return values


def pop_rate(values: MutableMapping[str, str]) -> dict[str, str]:
    """Remove the words that set the rate and return them, for `rate_of`."""
    keys = ["mean_depth", "rate_bits", *KINDS, *(f"target.{kind}" for kind in KINDS)]
    return {key: values.pop(key) for key in keys if key in values}


def rate_of(words: Mapping[str, str]) -> float | Target:
    """Return the requested rate.

    Its key is one of bpw, size, kl, perplexity_increase and mean_depth, or the equivalent key of a
    step's configuration (target.bpw, ..., rate_bits).

    Raises:
        RadioError: no rate or more than one is given, or it cannot be parsed.
    """
    if len(words) > 1:
        raise RadioError(f"{' and '.join(words)} are two rates: give one")
    targets = {kind: words.get(f"target.{kind}", words.get(kind)) for kind in KINDS}
    return requested_rate(words.get("mean_depth", words.get("rate_bits")), targets)
