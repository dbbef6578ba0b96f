"""Search for the lowest rate at which a measured loss meets a limit."""

import math
from collections.abc import Callable
from typing import NamedTuple

from radio.runtime.errors import RadioError

LOWEST_BITS, HIGHEST_BITS = 0.5, 8.0
# smaller differences in rate are below the accuracy of the loss
RESOLUTION_BITS = 0.01
# d ~ 2^(-2R): the loss halves with every half bit; used until the limit is bracketed
LOG2_LOSS_PER_BIT = 2.0
FIRST_BITS = 3.0


class Probe(NamedTuple):
    """A mean depth and the loss measured at it."""

    rate_bits: float
    loss: float


def least_rate(
    measure: Callable[[float], float], limit: float, what: str, tolerance: float
) -> tuple[Probe, list[Probe]]:
    """Return the lowest rate found whose loss is at most `limit`, and all probes.

    The limit is bracketed, and log loss, nearly linear in the rate, is interpolated. If the same
    end of the bracket stays for several probes, the bracket is bisected, so that it closes for any
    curve. The search ends when the loss is within `tolerance` below the limit, the bracket is at
    most `RESOLUTION_BITS` wide, or the limit is met at `LOWEST_BITS`.

    Args:
        measure: function from mean depth in bits to loss, decreasing except for noise.
        limit: largest loss allowed, > 0.
        what: the target as requested, for the error message.
        tolerance: relative distance below the limit.

    Raises:
        RadioError: the loss exceeds the limit even at 8 bits.
    """
    probes: list[Probe] = []
    missed: Probe | None = None
    met: Probe | None = None
    stayed, last_met = 0, False
    rate_bits = FIRST_BITS
    while True:
        probe = Probe(rate_bits, measure(rate_bits))
        probes.append(probe)
        is_met = probe.loss <= limit
        stayed = stayed + 1 if len(probes) > 1 and is_met == last_met else 0
        last_met = is_met
        if is_met:
            met = probe
        else:
            missed = probe
        if missed is not None and missed.rate_bits >= HIGHEST_BITS:
            raise RadioError(
                f"target.{what} is out of reach: at {HIGHEST_BITS:g} bits the validation text "
                f"still gives {missed.loss:.4g}, and at {probes[0].rate_bits:g} bits "
                f"{probes[0].loss:.4g}; set a target in between, or another method"
            )
        if met is not None and _done(met, missed, limit, tolerance):
            return met, probes
        rate_bits = _next_rate(met, missed, limit, halve=stayed > 1)


def _done(met: Probe, missed: Probe | None, limit: float, tolerance: float) -> bool:
    """Return True if the rate that meets the limit is low enough to stop."""
    narrow = missed is not None and met.rate_bits - missed.rate_bits <= RESOLUTION_BITS
    return narrow or met.loss >= (1 - tolerance) * limit or met.rate_bits <= LOWEST_BITS


def _next_rate(met: Probe | None, missed: Probe | None, limit: float, halve: bool) -> float:
    """Return the rate where the loss should be just below the limit, given the last probes."""
    if met is not None and missed is not None:
        width = met.rate_bits - missed.rate_bits
        if halve or not (met.loss > 0 and math.isfinite(missed.loss)):
            return missed.rate_bits + width / 2
        fall = math.log2(missed.loss / met.loss)
        share = math.log2(missed.loss / limit) / fall
        # half the resolution above the interpolation, to land on the side that meets the limit
        rate_bits = missed.rate_bits + share * width + RESOLUTION_BITS / 2
        inside = RESOLUTION_BITS / 2
        return min(max(rate_bits, missed.rate_bits + inside), met.rate_bits - inside)
    known = met or missed
    assert known is not None
    if not math.isfinite(known.loss):
        return min(known.rate_bits + 1, HIGHEST_BITS)
    step = math.log2(max(known.loss, 1e-12) / limit) / LOG2_LOSS_PER_BIT
    # step slightly further than the law predicts, so that the limit is bracketed
    step = step * 1.1 + math.copysign(RESOLUTION_BITS, step)
    return min(max(known.rate_bits + step, LOWEST_BITS), HIGHEST_BITS)
