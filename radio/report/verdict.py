"""The rule that decides whether a value of the paper is reproduced.

The tolerances are data: `config/paper/tolerances.csv`.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

REPRODUCED, NOT_REPRODUCED = "reproduced", "not reproduced"
NOT_COMPARABLE, NOT_RUN = "not comparable", "not run"

# a difference of decimals, such as 16.24 - 16.22, is exact only up to binary rounding
ROUNDING = 1e-9


@dataclass(frozen=True)
class Tolerance:
    """The tolerance of a value of the paper.

    Attributes:
        absolute: in the unit of the value.
        relative: fraction of the paper's value; the larger of the two counts.
        standard_errors: number of standard errors of our mean over seeds that are added.
        reason: the reason for the tolerance.
    """

    absolute: float
    relative: float
    standard_errors: float
    reason: str = ""

    def around(self, paper: float, spread: float | None = None, seeds: int = 1) -> float:
        """Return the largest distance from `paper` that passes.

        >>> Tolerance(0.03, 0.01, 2.0).around(10.0), Tolerance(0.0, 0.01, 2.0).around(8.0, 0.25, 4)
        (0.1, 0.33)

        Args:
            paper: the paper's value.
            spread: standard deviation of our value over seeds; None for a single seed.
            seeds: number of seeds.
        """
        allowed = max(self.absolute, self.relative * abs(paper))
        return allowed + (self.standard_errors * spread / math.sqrt(seeds) if spread else 0.0)


class Judgement(NamedTuple):
    """Our value minus the paper's, the tolerance of this difference, and the verdict."""

    difference: float | None
    tolerance: float | None
    verdict: str


def verdict(ours: float | None, paper: float, tolerance: float | None) -> str:
    """Return the verdict on our value; a value better than the paper's also counts as different.

    >>> verdict(16.24, 16.22, 0.02), verdict(16.19, 16.22, 0.02), verdict(None, 16.22, 0.02)
    ('reproduced', 'not reproduced', 'not run')

    Args:
        ours: our value; None if it was not measured.
        paper: the paper's value.
        tolerance: the largest distance that passes; None if the two are not comparable.
    """
    if ours is None:
        return NOT_RUN
    if tolerance is None:
        return NOT_COMPARABLE
    return REPRODUCED if abs(ours - paper) <= tolerance + ROUNDING else NOT_REPRODUCED
