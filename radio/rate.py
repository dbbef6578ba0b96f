"""Rates: a mean depth, or a target for the finished file or its accuracy.

Paths and tables show a mean depth as a number ("3", "2.5"), a target as kind and amount:

    bpw=3                     true bits per quantized weight, including all side information
    size=100MB                bytes of the whole file (MB = 10^6, GB = 10^9)
    kl=0.05                   KL divergence from the original on validation text, nats per token
    perplexity_increase=2%    relative increase of perplexity on validation text

Each amount has one spelling (bpw=3, not bpw=3.0), so that equal targets share a path.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from omegaconf import DictConfig

from radio.runtime.errors import RadioError

# 16 is the rate of float16, without quantization; codes have at most 8 bits
MAX_RATE_BITS, MAX_DEPTH_BITS = 16, 8
KINDS = ("bpw", "size", "kl", "perplexity_increase")
# targets that require evaluation of the model
ACCURACY = ("kl", "perplexity_increase")
UNITS = {"size": {"MB": 1e6, "GB": 1e9}, "perplexity_increase": {"%": 0.01}}
EXAMPLES = "bpw=3, size=100MB, kl=0.05 or perplexity_increase=2%"


@dataclass(frozen=True)
class Target:
    """A limit that the compressed model must meet.

    Attributes:
        kind: one of `KINDS`.
        amount: bits per weight, bytes, nats per token, or a ratio.
        text: the amount in its canonical spelling, with its unit.
    """

    kind: str
    amount: float
    text: str

    def __str__(self) -> str:
        return f"{self.kind}={self.text}"


def target(kind: str, value: Any) -> Target:
    """Return the target parsed from an amount with its unit.

    >>> target("size", "1.50GB")
    Target(kind='size', amount=1500000000.0, text='1.5GB')

    Raises:
        RadioError: the kind is unknown, or the amount is not a positive number or lacks its unit.
    """
    if kind not in KINDS:
        raise RadioError(f"target.{kind} is not a target: give {EXAMPLES}")
    units = UNITS.get(kind, {"": 1.0})
    found = re.fullmatch(rf"([\d.]+(?:e-?\d+)?)({'|'.join(units)})", str(value).strip())
    digits, symbol = found.groups() if found else ("nan", "")
    try:
        number = float(digits)
    except ValueError:
        number = math.nan
    if not 0 < number < math.inf:
        unit = f" with its unit ({' or '.join(units)})" if "" not in units else ""
        raise RadioError(f"target.{kind}={value} is no amount: give a number above 0{unit}")
    return Target(kind, number * units[symbol], f"{number:.12g}{symbol}")


def rate_text(asked: Any) -> str:
    """Return a rate or target as written in paths.

    >>> rate_text(3), rate_text(2.50), rate_text("bpw=3.0"), rate_text("size=100MB")
    ('3', '2.5', 'bpw=3', 'size=100MB')

    Raises:
        RadioError: `asked` is neither a number in (0, 8], nor 16, nor a target.
    """
    if isinstance(asked, str) and "=" in asked:
        kind, _, value = asked.partition("=")
        return str(target(kind, value))
    number = isinstance(asked, int | float) and not isinstance(asked, bool)
    if not number or not (0 < asked <= MAX_DEPTH_BITS or asked == MAX_RATE_BITS):
        raise RadioError(
            f"rate {asked!r} is not accepted: give bits per weight, above 0 and at "
            f"most 8 (16 for fp16), or a target such as {EXAMPLES}"
        )
    return f"{asked:g}"


def at_bpw(text: str) -> str:
    """Return the bpw target with the number of a mean depth; targets and 16 (fp16) do not change.

    >>> at_bpw("2.5"), at_bpw("kl=0.05"), at_bpw("16")
    ('bpw=2.5', 'kl=0.05', '16')
    """
    return text if "=" in text or float(text) == MAX_RATE_BITS else f"bpw={text}"


def rate_override(text: str) -> str:
    """Return the command-line override for a rate or target from a path.

    >>> rate_override("3"), rate_override("kl=0.05")
    ('rate_bits=3', 'target.kl=0.05')

    Raises:
        RadioError: `text` is not a rate, or differs from the spelling of `rate_text`.
    """
    try:
        spelled = rate_text(text if "=" in text else float(text))
    except ValueError as error:
        raise RadioError(
            f"rate {text} is not a number: give bits per weight, or a target such as {EXAMPLES}"
        ) from error
    if text != spelled:
        raise RadioError(f"rate {text} has another spelling in paths: write {spelled}")
    return f"target.{text}" if "=" in text else f"rate_bits={text}"


def requested_rate(rate_bits: Any, targets: Mapping[str, Any]) -> float | Target:
    """Return the requested mean depth in bits per weight, or the requested target.

    Raises:
        RadioError: no rate or more than one is given, or it cannot be parsed.
    """
    given = [target(kind, value) for kind, value in targets.items() if value is not None]
    if (rate_bits is not None) + len(given) != 1:
        what = "nothing" if not given else f"{len(given) + (rate_bits is not None)} things"
        raise RadioError(
            f"{what} asked of the rate: give either rate_bits=BITS (mean depth) or one of "
            "target.bpw, target.size, target.kl, target.perplexity_increase"
        )
    if given:
        return given[0]
    try:
        return float(rate_bits)
    except (TypeError, ValueError) as error:
        raise RadioError(
            f"rate_bits={rate_bits} is not a number: set bits per weight, such as 3 or 2.5"
        ) from error


def asked(cfg: DictConfig) -> float | Target:
    """Return the requested mean depth or target; methods and the allocation check its range.

    Raises:
        RadioError: no rate or more than one is given, or it cannot be parsed.
    """
    return requested_rate(cfg.rate_bits, cfg.target)
