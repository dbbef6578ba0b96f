"""Kinds of settings: type hints that say which values a setting accepts.

A dataclass of settings names its kinds in its annotations, `sequences: Count`. Before a step
starts, `radio.runtime.check` reads them, of our own classes and of those outside.
"""

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

# what torch takes as a size
LARGEST = 2**63 - 1
# what Linux takes as a path, and as one name in it, in bytes
PATH_BYTES, NAME_BYTES = 4095, 255


@dataclass(frozen=True)
class Rule:
    """A condition on a value that has the right type.

    Attributes:
        words: the condition, as it follows the name of the type in a message.
        holds: whether a value satisfies it.
        alone: whether `words` describes the value without the name of the type.
    """

    words: str
    holds: Callable[[Any], bool]
    alone: bool = False


@dataclass(frozen=True)
class Fields:
    """The setting is a mapping with the arguments of `target`, the dotted name of a class."""

    target: str


@dataclass(frozen=True)
class FieldsOfKind:
    """The setting is a mapping with the arguments of the class that its `kind` stands for."""

    targets: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Built:
    """The setting is a mapping with a `_target_`, from which Hydra builds an object."""


def of_kind(**targets: str) -> FieldsOfKind:
    """A mapping with the arguments of the class whose kind it names."""
    return FieldsOfKind(tuple(targets.items()))


def at_least(low: int, at_most: int = LARGEST) -> Rule:
    """Numbers in [low, at_most]."""
    top = "" if at_most == LARGEST else f" and at most {at_most}"
    return Rule(f"of at least {low}{top}", lambda value: low <= value <= at_most)


def above(low: int, at_most: int | None = None) -> Rule:
    """Numbers in (low, at_most]."""
    top = "" if at_most is None else f" and at most {at_most}"
    return Rule(f"above {low}{top}", lambda value: low < value <= (at_most or math.inf))


def one_of(*words: str | int) -> Rule:
    """One of a few words or numbers."""
    return Rule(f"one of {', '.join(map(str, words))}", lambda value: value in words, alone=True)


def matching(pattern: str, words: str) -> Rule:
    """Text that a regular expression matches as a whole."""
    return Rule(words, lambda value: re.fullmatch(pattern, value) is not None, alone=True)


def having(*keys: str) -> Rule:
    """A mapping with exactly these keys."""
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
# a group is a cluster of rows in one column, and a single weight has no variance
GroupRows = Annotated[int, at_least(2)]
# a block predicts all of its tokens but the first
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
]  # most blocks of each split; null for all
Shares = Annotated[
    Mapping[str, Share],
    having("validation", "test"),
    Rule("whose sum is below 1", lambda value: sum(value.values()) < 1),
]
