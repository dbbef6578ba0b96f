"""Type hints that describe which values a setting accepts.

A settings dataclass uses them as annotations, e.g. `sequences: Count`. `radio.runtime.check` reads
them before a step starts, for our own classes and external ones.
"""

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

# largest size that torch accepts
LARGEST = 2**63 - 1
# longest path, and longest name in a path, that Linux accepts, in bytes
PATH_BYTES, NAME_BYTES = 4095, 255


@dataclass(frozen=True)
class Rule:
    """A condition on a value that already has the right type.

    Attributes:
        words: the condition, as written after the type's name in a message.
        holds: whether a value satisfies it.
        alone: whether `words` describes the value without the type's name.
    """

    words: str
    holds: Callable[[Any], bool]
    alone: bool = False


@dataclass(frozen=True)
class Fields:
    """A mapping with the arguments of `target`, the dotted name of a class."""

    target: str


@dataclass(frozen=True)
class FieldsOfKind:
    """A mapping with the arguments of the class that its `kind` selects."""

    targets: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Built:
    """A mapping with a `_target_`, from which Hydra builds an object."""


def of_kind(**targets: str) -> FieldsOfKind:
    """Return the hint of a mapping whose `kind` selects the class of its arguments."""
    return FieldsOfKind(tuple(targets.items()))


def at_least(low: int, at_most: int = LARGEST) -> Rule:
    """Return the rule for numbers in [low, at_most]."""
    top = "" if at_most == LARGEST else f" and at most {at_most}"
    return Rule(f"of at least {low}{top}", lambda value: low <= value <= at_most)


def above(low: int, at_most: int | None = None) -> Rule:
    """Return the rule for numbers in (low, at_most]."""
    top = "" if at_most is None else f" and at most {at_most}"
    return Rule(f"above {low}{top}", lambda value: low < value <= (at_most or math.inf))


def one_of(*words: str | int) -> Rule:
    """Return the rule for one of a few words or numbers."""
    return Rule(f"one of {', '.join(map(str, words))}", lambda value: value in words, alone=True)


def matching(pattern: str, words: str) -> Rule:
    """Return the rule for text that a regular expression matches completely."""
    return Rule(words, lambda value: re.fullmatch(pattern, value) is not None, alone=True)


def having(*keys: str) -> Rule:
    """Return the rule for a mapping with exactly these keys."""
    return Rule(f"with the keys {', '.join(keys)}", lambda value: set(value) == set(keys))


def _is_path(value: str) -> bool:
    size = len(value.encode(errors="surrogateescape"))
    parts = (len(part.encode(errors="surrogateescape")) for part in value.split("/"))
    return 0 < size <= PATH_BYTES and max(parts) <= NAME_BYTES and "\0" not in value


File = Annotated[str, Rule("a path", _is_path, alone=True)]
Word = Annotated[str, Rule("that is not empty", lambda value: bool(value.strip()))]
Count = Annotated[int, at_least(1)]
Seed = Annotated[int, at_least(0, 2**32 - 1)]
Positive = Annotated[float, above(0)]
Share = Annotated[float, Rule("of at least 0 and below 1", lambda value: 0 <= value < 1)]
# a group is a cluster of rows in one column; the variance of a single weight is undefined
GroupRows = Annotated[int, at_least(2)]
# a sequence predicts all of its tokens but the first
ContextTokens = Annotated[int, at_least(2)]
Dtype = Annotated[str, one_of("float32", "bfloat16", "float16")]
Solver = Annotated[str, one_of("ascent", "exact", "uniform")]
Commit = Annotated[
    str,
    matching(
        "[0-9a-f]{40}",
        "a full commit hash of 40 hexadecimal digits, since a branch can move under a published "
        "number",
    ),
]
Sha256 = Annotated[str, matching("[0-9a-f]{64}", "a SHA-256 of 64 hexadecimal digits")]
Requirement = Annotated[str, matching(r"[\w.-]+==[\w.+!-]+", "a pinned version, NAME==VERSION")]
Blocks = Annotated[
    Mapping[str, Count | None], having("calibration", "validation", "test")
]  # maximum number of sequences of each split; null: all
Shares = Annotated[
    Mapping[str, Share],
    having("validation", "test"),
    Rule("whose sum is below 1", lambda value: sum(value.values()) < 1),
]
