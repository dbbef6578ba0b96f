"""Is a value of the paper reproduced? The rule; what is near enough stands in `config/paper`."""

import math
from dataclasses import dataclass
from typing import NamedTuple

REPRODUCED, NOT_REPRODUCED = "reproduced", "not reproduced"
NOT_COMPARABLE, NOT_RUN = "not comparable", "not run"

# a difference of decimals, such as 16.24 - 16.22, is itself uncertain in its last binary digits
ROUNDING = 1e-9


@dataclass(frozen=True)
class Tolerance:
    """How near to a value of the paper ours must come.

    Attributes:
        absolute: in the unit of the value.
        relative: part of the paper's value; the larger of the two counts.
        standard_errors: so many standard errors of ours over seeds are granted on top.
        reason: why so much.
    """

    absolute: float
    relative: float
    standard_errors: float
    reason: str = ""

    def around(self, paper: float, spread: float | None = None, seeds: int = 1) -> float:
        """The largest distance from `paper` that passes.

        >>> Tolerance(0.03, 0.01, 2.0).around(10.0), Tolerance(0.0, 0.01, 2.0).around(8.0, 0.25, 4)
        (0.1, 0.33)

        Args:
            paper: the paper's value.
            spread: standard deviation of ours over seeds, where there are several.
            seeds: their number.
        """
        allowed = max(self.absolute, self.relative * abs(paper))
        return allowed + (self.standard_errors * spread / math.sqrt(seeds) if spread else 0.0)


class Judgement(NamedTuple):
    """What is said of a value beside the paper's: the difference is ours less the paper's."""

    difference: float | None
    tolerance: float | None
    verdict: str


def verdict(ours: float | None, paper: float, tolerance: float | None) -> str:
    """What is to be said of our value beside the paper's; better than the paper is apart from it.

    >>> verdict(16.24, 16.22, 0.02), verdict(16.19, 16.22, 0.02), verdict(None, 16.22, 0.02)
    ('reproduced', 'not reproduced', 'not run')

    Args:
        ours: None where there is none.
        paper: the paper's value.
        tolerance: the largest distance that passes; None where the two are not comparable.
    """
    if ours is None:
        return NOT_RUN
    if tolerance is None:
        return NOT_COMPARABLE
    return REPRODUCED if abs(ours - paper) <= tolerance + ROUNDING else NOT_REPRODUCED
