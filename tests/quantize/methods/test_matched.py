"""Methods without allocated depths, set to spend a given true rate."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from radio.quantize.input_stats import InputStats
from radio.quantize.methods.base import BitsSolvableMethod, LinearLayer
from radio.quantize.methods.gptq import Gptq
from radio.quantize.methods.owq import Owq
from radio.quantize.methods.rtn import Rtn
from radio.runtime.errors import RadioError

SHAPES = [(6, 20), (6, 20), (3, 20), (14, 20), (6, 37)]


def true_rate(method, bits: float) -> float:
    """Of what is stored, layer by layer."""
    size = 0
    for rows, cols in SHAPES:
        inputs = InputStats(torch.zeros(cols), torch.eye(cols), 10, torch.ones(cols))
        layer = LinearLayer("w", torch.randn(rows, cols), inputs=inputs)
        size += method.quantize(layer, bits).stored_bytes()
    return 8 * size / sum(rows * cols for rows, cols in SHAPES)


METHODS = {
    "rtn": Rtn(),
    "symmetric": Rtn(symmetric=True),
    "gptq": Gptq(64),
    "owq": Owq(clip=False),
    "owq-g8": Owq(8, symmetric=True, clip=False),
}


@settings(max_examples=25)
@given(name=st.sampled_from(list(METHODS)), target=st.floats(3.5, 8.0))
def test_spends_at_most_the_target_and_the_next_setting_would_exceed_it(name, target):
    found, bits = METHODS[name].solve_for_bits(target, SHAPES)
    spent = true_rate(found, bits)
    assert spent <= target
    if isinstance(found, Owq):
        # a kept column more in any of the layers
        further = {
            n * rows - rows // 2
            for rows, cols in SHAPES
            for n in range(cols + 1)
            if n * rows - rows // 2 > found.kept_weights
        }
        tried = [replace(found, kept_weights=kept) for kept in sorted(further)[:3]]
    else:
        tried = [replace(found, group_cols=found.group_cols - 1)] if found.group_cols > 1 else []
    assert all(not spent < true_rate(more, bits) <= target for more in tried)
    # a bit more would not fit, whatever the setting
    least = replace(found, group_cols=37) if not isinstance(found, Owq) else found
    least = replace(least, kept_weights=0) if isinstance(least, Owq) else least
    assert bits == 8 or true_rate(least, bits + 1) > target


def test_a_matched_method_differs_in_its_free_setting_alone():
    method = Gptq(64, symmetric=True, clip=True, damping_frac=0.1)
    found, bits = method.solve_for_bits(3.5, [(576, 576)])
    assert replace(found, group_cols=64) == method and bits == 3
    assert found.group_cols == 32  # 3 + 16 / 32
    assert isinstance(found, BitsSolvableMethod)
    kept, bits = Owq().solve_for_bits(3.1, [(576, 576), (1536, 576)])
    assert replace(kept, kept_weights=None) == Owq() and bits == 3
    # as many weights in each layer, in whole columns
    assert kept.kept_cols(576, 576, 3) == pytest.approx(kept.kept_weights / 576, abs=0.5)
    assert kept.kept_cols(1536, 576, 3) == pytest.approx(kept.kept_weights / 1536, abs=0.5)


@pytest.mark.parametrize("method", [Rtn(), Gptq(), Owq()])
@pytest.mark.parametrize("target", [0.5, 1.0, 40.0])
def test_refuses_what_is_out_of_reach(method, target):
    with pytest.raises(RadioError, match=r"reach 1\.\d+ to \d+\.\d+ bits"):
        method.solve_for_bits(target, SHAPES)


def test_large_models_take_no_time():
    """All layers of Llama-2-7B."""
    shapes = ([(4096, 4096)] * 4 + [(11008, 4096)] * 2 + [(4096, 11008)]) * 32
    assert Rtn().solve_for_bits(3.25, shapes)[0].group_cols == 77
    assert Owq().solve_for_bits(3.02, shapes)[0].kept_weights > 0


def test_refuses_a_second_number_of_kept_columns():
    with pytest.raises(RadioError, match=r"extra_bits=0\.4 has no part in target\.bpw=3\.1"):
        Owq(extra_bits=0.4).solve_for_bits(3.1, SHAPES)
