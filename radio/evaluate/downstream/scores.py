"""Scores of tasks, and their changes between two models on the same items."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from radio.evaluate.divergence import standard_error

PERPLEXITY = "perplexity"


@dataclass(frozen=True)
class Score:
    """A score and its standard error over items."""

    value: float
    se: float


def score(metric: str, values: Sequence[float]) -> Score:
    """Return the mean of the items; for `perplexity`, exp of minus the mean log-likelihood.

    >>> score("acc", [1.0, 0.0, 1.0, 1.0])
    Score(value=0.75, se=0.25)
    """
    items = torch.tensor(values, dtype=torch.float64)
    return Score(_total(metric, items), standard_error(_contributions(metric, items)))


def change(metric: str, values: Sequence[float], reference: Sequence[float]) -> Score:
    """Return the score minus the reference's; its standard error is paired item by item.

    >>> change("acc", [1.0, 0.0, 1.0, 1.0], [1.0, 1.0, 1.0, 1.0]).value
    -0.25
    """
    items, others = (torch.tensor(v, dtype=torch.float64) for v in (values, reference))
    paired = _contributions(metric, items) - _contributions(metric, others)
    return Score(_total(metric, items) - _total(metric, others), standard_error(paired))


def average(scores: Sequence[Score]) -> Score:
    """Return the mean over tasks, whose items are independent.

    >>> average([Score(0.5, 0.03), Score(0.7, 0.04)])
    Score(value=0.6, se=0.025)
    """
    count = len(scores)
    total_se = sum(task.se**2 for task in scores) ** 0.5
    return Score(sum(task.value for task in scores) / count, total_se / count)


def _total(metric: str, items: Float[Tensor, " items"]) -> float:
    mean = items.mean()
    return float((-mean).exp() if metric == PERPLEXITY else mean)


def _contributions(metric: str, items: Float[Tensor, " items"]) -> Float[Tensor, " items"]:
    """Return each item's first-order contribution to the score (delta method for exp(-mean))."""
    return -_total(metric, items) * items if metric == PERPLEXITY else items
