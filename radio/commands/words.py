"""KEY=VALUE words of a command."""

from collections.abc import Iterable, MutableMapping

from radio.rate import KINDS, Target, requested_rate
from radio.runtime.errors import RadioError


def pairs(words: Iterable[str]) -> dict[str, str]:
    """Keys and their values; of a key given twice the last.

    Raises:
        RadioError: a word without a key or an equals sign.
    """
    values = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not key or not equals:
            raise RadioError(f"{word!r} cannot be read: write KEY=VALUE")
        values[key] = value
    return values


def pop_rate(values: MutableMapping[str, str]) -> float | Target:
    """Remove the requested rate from the words of a command and return it.

    It is one of bpw, size, kl, perplexity_increase and mean_depth, or the key of a step's
    configuration that means the same (target.bpw, ..., rate_bits).

    Raises:
        RadioError: no rate or more than one is given, or it cannot be read.
    """
    given = [key for key in ("mean_depth", "rate_bits", *KINDS) if key in values]
    given += [f"target.{kind}" for kind in KINDS if f"target.{kind}" in values]
    if len(given) > 1:
        raise RadioError(f"{' and '.join(given)} are two rates: give one")
    targets = {kind: values.pop(f"target.{kind}", values.pop(kind, None)) for kind in KINDS}
    return requested_rate(values.pop("mean_depth", values.pop("rate_bits", None)), targets)
