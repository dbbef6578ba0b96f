"""Losses per token: negative log-likelihood, and divergence from the reference model."""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

# tokens whose logits are in memory at once: [512, 50000] float32 is 100 MB per tensor
TOKENS_AT_ONCE = 512


class TokenMetrics(NamedTuple):
    """Metrics of a sequence, one value per target.

    Attributes:
        nll: -log q(target), nats.
        kl: KL(p || q) from the reference distribution p, nats.
        same_top1: whether p and q have the same most likely token.
    """

    nll: Float[Tensor, " targets"]
    kl: Float[Tensor, " targets"]
    same_top1: Bool[Tensor, " targets"]


@torch.no_grad()
def token_nll(
    hidden: Float[Tensor, "length width"], ids: Int[Tensor, " length"], head: nn.Linear
) -> Float[Tensor, " targets"]:
    """Return -log q(ids[t + 1] | ids[..t]) for every target, from a float32 log-softmax."""
    chunks = zip(hidden[:-1].split(TOKENS_AT_ONCE), ids[1:].split(TOKENS_AT_ONCE), strict=True)
    return torch.cat([_nll(_log_probs(states, head), targets) for states, targets in chunks])


@torch.no_grad()
def token_metrics(
    hidden: Float[Tensor, "length width"],
    reference: Float[Tensor, "length width"],
    ids: Int[Tensor, " length"],
    head: nn.Linear,
    reference_head: nn.Linear,
) -> TokenMetrics:
    """Return the metrics of every target, from the final hidden states of both models."""
    chunks = zip(
        hidden[:-1].split(TOKENS_AT_ONCE),
        reference[:-1].split(TOKENS_AT_ONCE),
        ids[1:].split(TOKENS_AT_ONCE),
        strict=True,
    )
    nll, kl, same = [], [], []
    for states, reference_states, targets in chunks:
        log_q = _log_probs(states, head)
        log_p = _log_probs(reference_states, reference_head)
        nll.append(_nll(log_q, targets))
        same.append(log_q.argmax(dim=-1) == log_p.argmax(dim=-1))
        kl.append((log_p.exp() * (log_p - log_q)).sum(dim=-1))
    return TokenMetrics(torch.cat(nll), torch.cat(kl), torch.cat(same))


def standard_error(values: Float[Tensor, " count"]) -> float:
    """Return the standard error of the mean; 0 for a single value, whose spread is unknown."""
    return float(values.double().std() / len(values) ** 0.5) if len(values) > 1 else 0.0


def _log_probs(states: Tensor, head: nn.Linear) -> Tensor:
    return head(states.to(head.weight)).float().log_softmax(dim=-1)


def _nll(log_q: Tensor, targets: Tensor) -> Tensor:
    return -log_q.gather(1, targets.to(log_q.device).long()[:, None])[:, 0]
