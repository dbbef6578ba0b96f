"""Negative log-likelihood and divergence from the reference, token by token."""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

# tokens whose logits are held at once: [512, 50000] float32 is 100 MB a tensor
TOKENS_AT_ONCE = 512


class TokenMetrics(NamedTuple):
    """One value for each target of a block.

    Attributes:
        nll: -log q(target), nats.
        kl: KL(p || q) from the reference distribution p, nats.
        same_top1: whether p and q agree on the likeliest token.
    """

    nll: Float[Tensor, " targets"]
    kl: Float[Tensor, " targets"]
    same_top1: Bool[Tensor, " targets"]


@torch.no_grad()
def token_nll(
    hidden: Float[Tensor, "length width"], ids: Int[Tensor, " length"], head: nn.Linear
) -> Float[Tensor, " targets"]:
    """-log q(ids[t + 1] | ids[..t]) for every target of a block, float32 log-softmax."""
    parts = zip(hidden[:-1].split(TOKENS_AT_ONCE), ids[1:].split(TOKENS_AT_ONCE), strict=True)
    return torch.cat([_nll(_log_probs(states, head), targets) for states, targets in parts])


@torch.no_grad()
def token_metrics(
    hidden: Float[Tensor, "length width"],
    reference: Float[Tensor, "length width"],
    ids: Int[Tensor, " length"],
    head: nn.Linear,
    reference_head: nn.Linear,
) -> TokenMetrics:
    """Metrics of every target of a block from the final hidden states of both models."""
    parts = zip(
        hidden[:-1].split(TOKENS_AT_ONCE),
        reference[:-1].split(TOKENS_AT_ONCE),
        ids[1:].split(TOKENS_AT_ONCE),
        strict=True,
    )
    nll, kl, same = [], [], []
    for states, reference_states, targets in parts:
        log_q = _log_probs(states, head)
        log_p = _log_probs(reference_states, reference_head)
        nll.append(_nll(log_q, targets))
        same.append(log_q.argmax(dim=-1) == log_p.argmax(dim=-1))
        kl.append((log_p.exp() * (log_p - log_q)).sum(dim=-1))
    return TokenMetrics(torch.cat(nll), torch.cat(kl), torch.cat(same))


def _log_probs(states: Tensor, head: nn.Linear) -> Tensor:
    return head(states.to(head.weight)).float().log_softmax(dim=-1)


def _nll(log_q: Tensor, targets: Tensor) -> Tensor:
    return -log_q.gather(1, targets.to(log_q.device).long()[:, None])[:, 0]
