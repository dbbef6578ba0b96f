"""Scores and their standard errors, against closed forms and resampling."""

import math

import pytest
import torch

from radio.evaluate.downstream.scores import Score, average, change, score


def sample_sequences(probability: float, count: int = 400) -> list[float]:
    generator = torch.Generator().manual_seed(round(1000 * probability))
    return (torch.rand(count, generator=generator) < probability).double().tolist()


def test_accuracy_has_the_error_of_a_proportion():
    values = sample_sequences(0.3)
    share = sum(values) / 400
    assert score("acc", values).value == pytest.approx(share)
    assert score("acc", values).se == pytest.approx(math.sqrt(share * (1 - share) / 399))


def test_lm_eval_has_the_same_standard_error():
    from lm_eval.api.metrics import mean_stderr

    values = sample_sequences(0.6)
    assert score("acc", values).se == pytest.approx(mean_stderr(values))


def test_a_change_is_paired():
    """Two models differ on three of 400 items: far less than the errors of their scores."""
    reference = sample_sequences(0.5)
    values = list(reference)
    for place in [index for index, value in enumerate(reference) if value == 1.0][:3]:
        values[place] = 0.0
    estimate = change("acc", values, reference)
    assert estimate.value == pytest.approx(-3 / 400)
    assert estimate.se == pytest.approx(math.sqrt(3 / 400 * (1 - 3 / 400) / 399))
    assert estimate.se < 0.2 * score("acc", values).se


def test_perplexity_moves_as_under_resampling():
    generator = torch.Generator().manual_seed(0)
    reference = -3 * torch.rand(300, dtype=torch.float64, generator=generator)
    values = reference - 0.3 * torch.rand(300, dtype=torch.float64, generator=generator)
    estimate, moved = (
        score("perplexity", values.tolist()),
        change("perplexity", values.tolist(), reference.tolist()),
    )
    draws = torch.randint(0, 300, (4000, 300), generator=generator)
    many = (-values[draws].mean(1)).exp()
    assert estimate.value == pytest.approx(float((-values.mean()).exp()))
    assert estimate.se == pytest.approx(float(many.std()), rel=0.1)
    assert moved.se == pytest.approx(
        float((many - (-reference[draws].mean(1)).exp()).std()), rel=0.1
    )


def test_an_average_over_tasks():
    parts = [score("acc", sample_sequences(p)) for p in (0.2, 0.5, 0.9)]
    estimate = average(parts)
    assert estimate.value == pytest.approx(sum(part.value for part in parts) / 3)
    assert estimate.se == pytest.approx(math.sqrt(sum(part.se**2 for part in parts)) / 3)
    assert average([Score(0.5, 0.1)]) == Score(0.5, 0.1)
