"""OWQ: which columns are kept, what they take up, its ends in GPTQ and float16, refusals."""

from dataclasses import replace

import pytest
import torch

from radio.quantize.methods.base import LinearLayer
from radio.quantize.methods.gptq import Gptq
from radio.quantize.methods.owq import Owq
from radio.quantize.methods.rtn import Rtn
from radio.runtime.errors import RadioError
from radio.theory.affine_grid import clipped_grid
from tests.quantize.methods.problem import layer, output_error


@pytest.mark.parametrize("group_cols", [None, 48])
@pytest.mark.parametrize("static", [False, True])
def test_with_no_column_kept_it_is_gptq_in_clipped_ranges(group_cols, static):
    of, settings = layer(8, 150), {"static_groups": static, "act_order": static}
    found = Owq(group_cols, extra_bits=0.0, **settings).quantize(of, 3.0)
    wanted = Gptq(group_cols, clip=True, **settings).quantize(of, 3.0)
    assert torch.equal(found.weight.decode(), wanted.weight.decode())
    assert found.stored_bytes() == wanted.stored_bytes()


@pytest.mark.parametrize("settings", [{"extra_bits": 13.0}, {"kept_weights": 10**9}], ids=str)
def test_with_all_columns_kept_it_is_float16(settings):
    of = layer(8, 50)
    found = Owq(**settings).quantize(of, 3.0)
    assert torch.equal(found.weight.decode(), of.weight.half().float())
    assert found.stored_bytes() == 2 * 8 * 50 + 2 * 50


def test_the_kept_columns_are_those_of_largest_sensitivity():
    of = layer(8, 60)
    plain = Rtn(clip=True).quantize(of, 3.0).weight.decode()
    error = (plain - of.weight).square().sum(dim=0)
    sensitivity = of.inputs.second_moment.diagonal() * error
    found = Owq(kept_weights=5 * 8).quantize(of, 3.0).weight
    assert set(found.columns.tolist()) == set(sensitivity.topk(5).indices.tolist())


@pytest.mark.parametrize("kept", [1, 4, 100])
@pytest.mark.parametrize("act_order", [False, True])
def test_kept_columns_take_up_the_errors_of_all_others(kept, act_order):
    """They end where the damped output error is least, given the others."""
    of = layer(6, 150, seed=2)
    found = Owq(kept_weights=kept * 6, act_order=act_order).quantize(of, 3.0).weight
    hessian = of.inputs.second_moment.double()
    hessian = hessian + 0.01 * hessian.diagonal().mean() * torch.eye(150).double()
    error, last = found.decode().double() - of.weight.double(), found.columns
    rest = torch.tensor([j for j in range(150) if j not in last.tolist()])
    response = torch.linalg.solve(hessian[last][:, last], hessian[last][:, rest] @ error[:, rest].T)
    torch.testing.assert_close(error[:, last], -response.T, rtol=0.01, atol=0.01)
    assert (error[:, last].abs() > 0.05).any()


def test_kept_columns_take_no_part_in_the_grids():
    of = layer(8, 60)
    weight, second = of.weight.clone(), of.inputs.second_moment.clone()
    weight[:, 7] *= 100
    second[7] *= 1000
    second[:, 7] *= 1000
    of = replace(of, weight=weight, inputs=replace(of.inputs, second_moment=second))
    found = Owq(kept_weights=8).quantize(of, 3.0).weight
    assert found.columns.tolist() == [7]
    rest = torch.tensor([j for j in range(60) if j != 7])
    assert torch.equal(found.coded.scale[:, 0], clipped_grid(weight[:, rest], 3).scale)


def test_kept_columns_take_no_part_in_the_last_group():
    """Which is shorter than the others, so that kept columns stand right behind it."""
    of = layer(8, 60)
    second = of.inputs.second_moment.clone()
    second[7] *= 1000
    second[:, 7] *= 1000
    weight = of.weight.clone()
    weight[:, 7] *= 1000
    of = replace(of, weight=weight, inputs=replace(of.inputs, second_moment=second))
    found = Owq(20, kept_weights=8).quantize(of, 3.0).weight
    assert found.columns.tolist() == [7] and found.coded.scale.shape == (8, 3)
    assert found.coded.scale.max() < 10


def test_each_column_kept_lowers_the_output_error():
    of = layer(16, 120)
    errors = [
        output_error(Owq(kept_weights=16 * k).quantize(of, 3.0), of) for k in (0, 2, 8, 32, 120)
    ]
    assert errors == sorted(errors, reverse=True)


@pytest.mark.parametrize(
    "method, shape, bits, kept",
    [
        (Owq(), (100, 4096), 3, 4),  # 4096 * 0.01 / 13 = 3.15
        (Owq(), (100, 576), 4, 1),
        (Owq(extra_bits=0.0), (100, 576), 4, 0),
        (Owq(kept_weights=389), (576, 576), 3, 1),
        (Owq(kept_weights=389), (192, 576), 3, 2),
        (Owq(kept_weights=389), (1536, 576), 3, 0),
        (Owq(kept_weights=288), (576, 576), 3, 1),
        (Owq(kept_weights=287), (576, 576), 3, 0),
        (Owq(kept_weights=10**6), (10, 20), 3, 20),
    ],
)
def test_how_many_columns_are_kept(method, shape, bits, kept):
    assert method.kept_cols(*shape, bits) == kept


def test_refuses_what_it_cannot_do():
    with pytest.raises(RadioError, match="moments of the inputs of w"):
        Owq().quantize(LinearLayer("w", torch.ones(2, 2)), 3.0)
    with pytest.raises(RadioError, match="extra_bits=-1"):
        Owq(extra_bits=-1.0)
    with pytest.raises(RadioError, match="kept_weights=-1"):
        Owq(kept_weights=-1)
    with pytest.raises(RadioError, match="does not suit owq"):
        Owq().check_rate(3.01)
