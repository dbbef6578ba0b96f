"""Moments of inputs: exact sums in float32, sharing by identity, refusals."""

import pytest
import torch
from torch import nn

from radio.quantize.input_stats import collect_input_stats
from radio.runtime.errors import RadioError


class Siblings(nn.Module):
    """`q` and `k` read one tensor; `v`, whose name says the same, reads an equal copy of it."""

    def __init__(self) -> None:
        super().__init__()
        self.q, self.k, self.v = (nn.Linear(5, 3) for _ in range(3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.q(x) + self.k(x) + self.v(x.clone())


def measured(sequences: list[torch.Tensor], module: nn.Module | None = None):
    module = module or Siblings()
    with torch.no_grad():
        return collect_input_stats(dict(module.named_children()), (module(x) for x in sequences))


def test_moments_are_those_of_all_tokens():
    """Also where sequences differ in length, and where activations are bfloat16."""
    sequences = [torch.randn(1, length, 5) + 3 for length in (4, 1, 7)]
    tokens = torch.cat(sequences, dim=1)[0].double()
    found = measured(sequences)["q"]
    assert found.tokens == 12 and found.mean.dtype == found.second_moment.dtype == torch.float32
    torch.testing.assert_close(found.mean.double(), tokens.mean(0), rtol=1e-6, atol=0)
    torch.testing.assert_close(found.mean_abs.double(), tokens.abs().mean(0), rtol=1e-6, atol=0)
    second = tokens.T @ tokens / 12
    torch.testing.assert_close(found.second_moment.double(), second, rtol=1e-6, atol=0)
    # float32 moments near 9 cancel to a covariance near 1
    covariance = tokens.T.cov(correction=0)
    torch.testing.assert_close(found.covariance.double(), covariance, rtol=0, atol=1e-5)


def test_sums_are_float32_where_activations_are_not():
    """Summed in bfloat16, a thousand ones would stop at 256."""
    found = measured([torch.ones(1, 100, 5).bfloat16()] * 10, Siblings().bfloat16())["v"]
    assert torch.equal(found.mean, torch.ones(5))
    assert torch.equal(found.second_moment, torch.ones(5, 5))


def test_one_tensor_has_one_sum_and_an_equal_one_its_own():
    found = measured([torch.randn(1, 4, 5), torch.randn(1, 4, 5)])
    assert found["q"] is found["k"] and found["q"] is not found["v"]
    assert torch.equal(found["q"].second_moment, found["v"].second_moment)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e30])
def test_refuses_inputs_that_are_not_finite(value):
    with pytest.raises(RadioError, match="inputs of q are not finite"):
        measured([torch.full((1, 2, 5), value)])


def test_hooks_are_gone_even_after_a_failure():
    module = Siblings()
    measured([torch.randn(1, 4, 5)], module)
    with pytest.raises(RuntimeError):
        measured([torch.randn(1, 4, 6)], module)
    assert not any(child._forward_pre_hooks for child in module.children())
