"""What can be asked of a rate, and in which words."""

import math

import pytest

from radio.rate import Target, at_bpw, rate_override, rate_text, requested_rate, target
from radio.runtime.errors import RadioError

NO_INPUTS = {"bpw": None, "size": None, "kl": None, "perplexity_increase": None}


@pytest.mark.parametrize("rate", [0, -1, 17, "three", True, None, math.nan])
def test_what_is_not_a_rate(rate):
    with pytest.raises(RadioError, match="is not accepted: give bits per weight"):
        rate_text(rate)


@pytest.mark.parametrize(
    "text, kind, amount",
    [
        ("bpw=3.25", "bpw", 3.25),
        ("size=100MB", "size", 1e8),
        ("size=1.5GB", "size", 1.5e9),
        ("kl=0.05", "kl", 0.05),
        ("kl=1e-05", "kl", 0.00001),
        ("perplexity_increase=2%", "perplexity_increase", 0.02),
    ],
)
def test_targets(text, kind, amount):
    assert rate_text(text) == text
    assert rate_override(text) == f"target.{text}"
    read = requested_rate(None, NO_INPUTS | {kind: text.partition("=")[2]})
    assert isinstance(read, Target) and read.kind == kind and str(read) == text
    assert read.amount == pytest.approx(amount)


@pytest.mark.parametrize(
    "asked, text",
    [
        ("bpw=3.0", "bpw=3"),
        ("kl=5e-2", "kl=0.05"),
        ("size=0100.50MB", "size=100.5MB"),
        ("size=1234567.80MB", "size=1234567.8MB"),
    ],
)
def test_equal_targets_have_one_spelling(asked, text):
    assert rate_text(asked) == rate_text(text) == text
    with pytest.raises(RadioError, match=f"rate {asked} has another spelling.*write {text}"):
        rate_override(asked)


@pytest.mark.parametrize("text", ["16", "bpw=16", "size=1GB", "kl=0.1"])
def test_what_is_no_depth_is_not_turned_into_true_bits(text):
    assert at_bpw(text) == text


@pytest.mark.parametrize(
    "kind, value",
    [
        ("size", "100"),
        ("size", "100KB"),
        ("perplexity_increase", 2),
        ("kl", "-1"),
        ("kl", 0),
        ("bpw", "1.2.3"),
        ("bpw", "three"),
    ],
)
def test_amounts_that_cannot_be_read(kind, value):
    with pytest.raises(RadioError, match=f"target.{kind}={value} is no amount"):
        target(kind, value)


def test_unknown_target():
    with pytest.raises(RadioError, match=r"target.speed is not a target: give bpw=3"):
        rate_text("speed=1")


def test_one_thing_is_asked():
    assert requested_rate("2.5", NO_INPUTS) == 2.5
    with pytest.raises(RadioError, match="nothing asked"):
        requested_rate(None, NO_INPUTS)
    with pytest.raises(RadioError, match="2 things asked"):
        requested_rate(3, NO_INPUTS | {"kl": 0.1})
    with pytest.raises(RadioError, match="rate_bits=three is not a number"):
        requested_rate("three", NO_INPUTS)
