"""The search for the least rate: it meets the limit, is least, and refuses what cannot be met."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from radio.runtime.errors import RadioError
from radio.targets.least_rate import LOWEST_BITS, RESOLUTION_BITS, least_rate


def curve(slope: float, bend: float):
    """A loss that falls by `slope` octaves a bit, more steeply where rates are low."""
    return lambda rate: 2.0 ** (1 - slope * rate + bend / rate)


@given(slope=st.floats(1.0, 3.0), bend=st.floats(0.0, 4.0), rate=st.floats(LOWEST_BITS + 0.1, 7.9))
def test_finds_the_least_rate_in_few_probes(slope, bend, rate):
    loss = curve(slope, bend)
    found, probes = least_rate(loss, loss(rate), "kl=x", tolerance=0.02)
    assert found.loss <= loss(rate) * (1 + 1e-12)
    # either the loss is within 2% of the limit or the rate within the resolution of the best
    assert found.loss >= 0.98 * loss(rate) or found.rate_bits - rate <= RESOLUTION_BITS
    assert len(probes) <= 10
    assert found in probes


@given(jitter=st.lists(st.floats(-0.03, 0.03), min_size=64, max_size=64), rate=st.floats(1, 7))
def test_noise_does_not_keep_it_from_ending(jitter, rate):
    noise = iter(jitter)
    exact = curve(2.0, 1.0)
    found, _ = least_rate(
        lambda r: exact(r) * (1 + next(noise)), exact(rate), "kl=x", tolerance=0.02
    )
    assert found.loss <= exact(rate)
    assert abs(found.rate_bits - rate) < 0.1


def test_a_limit_that_everything_meets_gives_the_lowest_rate():
    found, _ = least_rate(curve(2.0, 0.0), 1e6, "kl=x", tolerance=0.02)
    assert found.rate_bits == LOWEST_BITS


def test_refuses_a_limit_below_the_loss_at_eight_bits():
    loss = curve(2.0, 0.0)
    with pytest.raises(RadioError, match=r"target.kl=1e-9 is out of reach: at 8 bits") as refusal:
        least_rate(loss, 1e-9, "kl=1e-9", tolerance=0.02)
    assert f"{loss(8.0):.4g}" in str(refusal.value)


def test_a_step_function_is_bracketed():
    """No rate comes near the limit: the bracket closes on the step instead."""
    found, probes = least_rate(
        lambda rate: 0.1 if rate >= math.pi else 10.0, 1.0, "kl=1", tolerance=0.02
    )
    assert 0 <= found.rate_bits - math.pi <= RESOLUTION_BITS and len(probes) < 20


def test_a_loss_may_fall_below_zero():
    """Quantized models may be better than the original on a short text."""
    found, _ = least_rate(
        lambda rate: 2.0 ** (-2 * (rate - 2)) - 0.003, 0.0005, "perplexity_increase=x", 0.02
    )
    assert found.loss <= 0.0005
    assert found.rate_bits == pytest.approx(2 - math.log2(0.0035) / 2, abs=2 * RESOLUTION_BITS)


def test_a_ruined_model_is_no_end_of_the_search():
    """At low rates the loss may be infinite."""
    loss = curve(2.0, 0.0)
    found, probes = least_rate(
        lambda rate: math.inf if rate < 4.5 else loss(rate), loss(5.0), "kl=x", 0.02
    )
    assert found.loss <= loss(5.0) and len(probes) < 12
