"""GPTQ: optimal brain quantization with grids, groups, orders, gain over RTN, extremes."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from radio.quantize.methods.base import LinearLayer
from radio.quantize.methods.gptq import Gptq
from radio.quantize.methods.rtn import Rtn
from radio.runtime.errors import RadioError
from radio.theory.affine_grid import Grid, clipped_grid, decode, encode, min_max_grid
from tests.quantize.methods.problem import layer, moments, output_error

# group sizes that begin and end inside blocks of 128 columns, and that do not divide the columns
GROUPS = [None, 5, 64, 76, 80, 128, 200, 1000]


def optimal_brain(of: LinearLayer, method: Gptq, bits: int) -> torch.Tensor:
    """Column by column in float64, the inverse of the remaining Hessian explicit at every step."""
    weight, hessian = of.weight.double(), of.inputs.second_moment.double()
    cols, unit = weight.shape[1], hessian.diagonal().mean()
    hessian = hessian + method.damping_frac * unit * torch.eye(cols).double()
    order = hessian.diagonal().argsort(descending=True) if method.act_order else torch.arange(cols)
    size = method.group_cols or cols
    find = clipped_grid if method.clip else min_max_grid
    result, inverse, grids = weight.clone(), torch.linalg.inv(hessian), {}
    work = weight.clone()
    for turn, j in enumerate(order.tolist()):
        start = j // size * size
        if start not in grids:
            source = weight if method.static_groups else work
            run = source[:, start : start + size].float()
            grids[start] = find(run, bits, symmetric=method.symmetric)
        grid, column = grids[start], work[:, j : j + 1].float()
        result[:, j] = decode(encode(column, grid, bits), grid)[:, 0].double()
        error = (work[:, j] - result[:, j]) / inverse[j, j]
        rest = order[turn + 1 :]
        work[:, rest] -= torch.outer(error, inverse[j, rest])
        # the inverse of the Hessian without row and column j (Gaussian elimination)
        inverse = inverse - torch.outer(inverse[:, j], inverse[j]) / inverse[j, j]
    return result


def check(of: LinearLayer, method: Gptq, bits: int) -> None:
    """Equal but for weights within float32 of a threshold, and what these do to later ones."""
    found = method.quantize(of, float(bits)).weight.decode().double()
    wanted = optimal_brain(of, method, bits)
    close = torch.isclose(found, wanted, rtol=1e-4, atol=1e-6)
    # a rounding that falls out the other way changes later columns of its row
    assert close.all(dim=1).float().mean() >= 0.75, close.float().mean()


@pytest.mark.parametrize("group_cols", GROUPS)
@pytest.mark.parametrize("bits", [2, 3, 4])
def test_equals_optimal_brain_quantization(group_cols, bits):
    check(layer(8, 300), Gptq(group_cols), bits)


@pytest.mark.parametrize("group_cols", [None, 76, 128])
@pytest.mark.parametrize(
    "settings",
    [
        {"symmetric": True},
        {"clip": True},
        {"clip": True, "symmetric": True},
        {"static_groups": True},
        {"static_groups": True, "act_order": True},
        {"static_groups": True, "act_order": True, "clip": True},
        {"damping_frac": 0.1},
    ],
    ids=str,
)
def test_settings_equal_optimal_brain_quantization(group_cols, settings):
    check(layer(8, 300, seed=1), Gptq(group_cols, **settings), 3)


def test_the_order_of_whole_rows_needs_no_static_grids():
    check(layer(8, 200), Gptq(None, act_order=True), 3)
    with pytest.raises(RadioError, match="group_cols=128 would need the order"):
        Gptq(128, act_order=True)


@given(seed=st.integers(0, 20), group=st.sampled_from([None, 16, 24, 128]), bits=st.integers(2, 5))
def test_output_error_is_not_above_round_to_nearest(seed, group, bits):
    of = layer(16, 96, seed)
    fed = output_error(Gptq(group).quantize(of, float(bits)), of)
    assert fed < output_error(Rtn(group).quantize(of, float(bits)), of)


def test_without_correlation_it_is_round_to_nearest():
    of = layer(8, 150)
    second = torch.diag(of.inputs.second_moment.diagonal())
    of = replace(of, inputs=replace(of.inputs, second_moment=second))
    for group in (None, 64):
        found, wanted = (m(group).quantize(of, 3.0).weight for m in (Gptq, Rtn))
        assert torch.equal(found.decode(), wanted.decode())


def test_the_order_of_the_text_does_not_matter():
    """Sums in another order differ in their last digits, and so may a code in thousands."""
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(512, 96, generator=generator) @ torch.randn(96, 96, generator=generator)
    weight = torch.randn(32, 96, generator=generator)
    shuffled = inputs[torch.randperm(512, generator=generator)]
    layers = [LinearLayer("w", weight, inputs=moments(x)) for x in (inputs, shuffled)]
    one, other = (Gptq(32).quantize(each, 3.0).weight for each in layers)
    assert (one.codes == other.codes).float().mean() > 0.98
    # as good as each other, on either text
    errors = [output_error(Gptq(32).quantize(each, 3.0), layers[0]) for each in layers]
    assert errors[0] == pytest.approx(errors[1], rel=0.01)


def test_dead_inputs_are_rounded_and_disturb_no_other():
    of = layer(8, 60)
    dead = torch.tensor([0, 17, 59])
    alive = torch.tensor([j for j in range(60) if j not in dead.tolist()])
    second = of.inputs.second_moment.clone()
    second[dead], second[:, dead] = 0, 0
    of = replace(of, inputs=replace(of.inputs, second_moment=second))
    method = Gptq(20, static_groups=True)
    found = method.quantize(of, 3.0).weight.decode()
    plain = Rtn(20).quantize(of, 3.0).weight.decode()
    assert torch.equal(found[:, dead], plain[:, dead])
    other = of.weight.clone()
    other[:, dead] *= 0.5
    changed = method.quantize(replace(of, weight=other), 3.0).weight
    # their own weights matter only for the range
    same = changed.scale == method.quantize(of, 3.0).weight.scale
    rows = same.all(dim=1)
    assert torch.equal(changed.decode()[rows][:, alive], found[rows][:, alive])


@pytest.mark.parametrize("tokens", [1, 5, 40])
def test_fewer_tokens_than_inputs(tokens):
    """Singular Hessians: finite, and a gain where the text is."""
    generator = torch.Generator().manual_seed(tokens)
    inputs = torch.randn(tokens, 60, generator=generator)
    of = LinearLayer("w", torch.randn(16, 60, generator=generator), inputs=moments(inputs))
    fed, plain = (output_error(m(20).quantize(of, 3.0), of) for m in (Gptq, Rtn))
    assert fed < 0.5 * plain


def test_no_input_was_ever_alive():
    of = LinearLayer("w", torch.randn(4, 12), inputs=moments(torch.zeros(3, 12)))
    found, wanted = (m().quantize(of, 3.0).weight for m in (Gptq, Rtn))
    assert torch.equal(found.decode(), wanted.decode())


@pytest.mark.parametrize("method", [Gptq(), Gptq(40), Gptq(40, symmetric=True)])
def test_stores_what_round_to_nearest_stores(method):
    """So the methods spend equal bits at equal settings."""
    of = layer(6, 100)
    plain = Rtn(method.group_cols, method.symmetric).quantize(of, 3.0)
    assert method.quantize(of, 3.0).stored_bytes() == plain.stored_bytes()


def test_the_bias_stays():
    of = replace(layer(4, 10), bias=torch.randn(4))
    quantized = Gptq().quantize(of, 3.0)
    assert torch.equal(quantized.bias, of.bias.half()) and not quantized.bias_added


def test_refuses_what_it_cannot_do():
    with pytest.raises(RadioError, match="moments of the inputs of w"):
        Gptq().quantize(LinearLayer("w", torch.ones(2, 2)), 3.0)
    with pytest.raises(RadioError, match="damping_frac=-1"):
        Gptq(damping_frac=-1.0)
    with pytest.raises(RadioError, match=r"rate_bits=3\.5 does not suit gptq"):
        Gptq().check_rate(3.5)


def test_grids_are_those_of_the_corrected_weights():
    """Static grids span the original weights, the others what feedback made of them."""
    of = layer(8, 256, seed=3)
    static, moved = (Gptq(128, static_groups=s).quantize(of, 4.0).weight for s in (True, False))
    original = Grid(static.scale[:, 1], static.zero[:, 1])
    assert torch.equal(original.scale, min_max_grid(of.weight[:, 128:], 4).scale)
    assert torch.equal(static.scale[:, 0], moved.scale[:, 0])
    assert not torch.equal(static.scale[:, 1], moved.scale[:, 1])
