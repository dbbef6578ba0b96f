"""The rule of the verdict, at its limits."""

import pytest

from radio.report.verdict import Tolerance, verdict


@pytest.mark.parametrize(
    "ours, word",
    [
        (16.24, "reproduced"),  # 16.24 - 16.22 is not 0.02 in binary
        (16.20, "reproduced"),
        (16.22, "reproduced"),
        (16.2401, "not reproduced"),
        (16.1999, "not reproduced"),  # better than the paper, and not what it says
        (float("nan"), "not reproduced"),
        (None, "not run"),
    ],
)
def test_limits_of_the_tolerance(ours, word):
    assert verdict(ours, 16.22, 0.02) == word


def test_without_a_tolerance_nothing_is_judged():
    assert verdict(16.22, 16.22, None) == "not comparable"
    assert verdict(None, 16.22, None) == "not run"


@pytest.mark.parametrize(
    "paper, spread, seeds, allowed",
    [
        (1.0, None, 1, 0.03),
        (3.0, None, 1, 0.03),
        (100.0, None, 1, 1.0),
        (100.0, 0.5, 4, 1.0 + 2 * 0.25),
        (1.0, 0.0, 3, 0.03),
    ],
)
def test_the_larger_part_counts_and_seeds_add_theirs(paper, spread, seeds, allowed):
    assert Tolerance(0.03, 0.01, 2.0).around(paper, spread, seeds) == pytest.approx(allowed)
