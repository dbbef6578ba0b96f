"""From a task's items to its score, and to the change from another model's on the same items."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from radio.evaluate.spread import standard_error

PERPLEXITY = "perplexity"


@dataclass(frozen=True)
class Score:
    """A number and its standard error over items."""

    value: float
    se: float


def score(metric: str, values: Sequence[float]) -> Score:
    """The mean of the items; of `perplexity` the exponential of minus the mean log-likelihood.

    >>> score("acc", [1.0, 0.0, 1.0, 1.0])
    Score(value=0.75, se=0.25)
    """
    items = torch.tensor(values, dtype=torch.float64)
    return Score(_total(metric, items), standard_error(_moving(metric, items)))


def change(metric: str, values: Sequence[float], reference: Sequence[float]) -> Score:
    """What a score exceeds the reference's by, paired item by item: their own spread drops out.

    >>> change("acc", [1.0, 0.0, 1.0, 1.0], [1.0, 1.0, 1.0, 1.0]).value
    -0.25
    """
    items, others = (torch.tensor(each, dtype=torch.float64) for each in (values, reference))
    paired = _moving(metric, items) - _moving(metric, others)
    return Score(_total(metric, items) - _total(metric, others), standard_error(paired))


def average(scores: Sequence[Score]) -> Score:
    """The mean over tasks, whose items are independent.

    >>> average([Score(0.5, 0.03), Score(0.7, 0.04)])
    Score(value=0.6, se=0.025)
    """
    count = len(scores)
    spread = sum(each.se**2 for each in scores) ** 0.5
    return Score(sum(each.value for each in scores) / count, spread / count)


def _total(metric: str, items: Float[Tensor, " items"]) -> float:
    mean = items.mean()
    return float((-mean).exp() if metric == PERPLEXITY else mean)


def _moving(metric: str, items: Float[Tensor, " items"]) -> Float[Tensor, " items"]:
    """What each item moves the score by: delta method for exp(-mean)."""
    return -_total(metric, items) * items if metric == PERPLEXITY else items
