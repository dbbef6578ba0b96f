"""Token metrics against direct formulas."""

import math

import pytest
import torch
from torch import nn

from radio.evaluate.divergence import token_metrics, token_nll

LENGTH, WIDTH, VOCABULARY = 1100, 8, 30  # longer than two chunks of tokens


@pytest.fixture
def heads():
    torch.manual_seed(0)
    return nn.Linear(WIDTH, VOCABULARY, bias=False), nn.Linear(WIDTH, VOCABULARY, bias=False)


def test_nll_and_kl_equal_the_definitions(heads):
    hidden, reference = torch.randn(LENGTH, WIDTH), torch.randn(LENGTH, WIDTH)
    ids = torch.randint(0, VOCABULARY, (LENGTH,))
    metrics = token_metrics(hidden, reference, ids, heads[0], heads[1])
    q = torch.softmax(heads[0](hidden).double(), -1).detach()
    p = torch.softmax(heads[1](reference).double(), -1).detach()
    assert len(metrics.nll) == len(metrics.kl) == LENGTH - 1
    for t in (0, 510, 511, 512, LENGTH - 2):  # both sides of a chunk's border
        assert metrics.nll[t].item() == pytest.approx(-math.log(q[t, ids[t + 1]]), rel=1e-4)
        assert metrics.kl[t].item() == pytest.approx(
            (p[t] * (p[t] / q[t]).log()).sum().item(), rel=1e-4
        )
        assert metrics.same_top1[t] == (p[t].argmax() == q[t].argmax())
    torch.testing.assert_close(token_nll(hidden, ids, heads[0]), metrics.nll)


def test_divergence_from_itself_is_zero(heads):
    hidden, ids = torch.randn(5, WIDTH), torch.arange(5)
    metrics = token_metrics(hidden, hidden, ids, heads[0], heads[0])
    assert metrics.kl.abs().max() < 1e-6 and metrics.same_top1.all()


def test_divergence_is_not_symmetric_and_weighs_by_the_reference(heads):
    """KL(p || q), with p the reference: mass that q lacks is expensive."""
    sharp, flat = torch.full((2, WIDTH), 20.0), torch.zeros(2, WIDTH)
    ids = torch.tensor([0, 1])
    forward = token_metrics(flat, sharp, ids, heads[0], heads[0]).kl
    backward = token_metrics(sharp, flat, ids, heads[0], heads[0]).kl
    assert forward.item() == pytest.approx(math.log(VOCABULARY), rel=0.05)
    assert backward.item() > 2 * forward.item()
