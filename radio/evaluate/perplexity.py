"""Perplexity of a model on a text, and its divergence from the reference model."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from radio.evaluate.divergence import standard_error, token_metrics
from radio.evaluate.reference import Reference
from radio.models import Runnable, final_states, head_of
from radio.runtime.device import CPU, to_device


@dataclass(frozen=True)
class Evaluation:
    """Losses of a model on the sequences of a text, and those of the reference model.

    Attributes:
        nll: mean negative log-likelihood of each sequence, nats.
        nll_reference: the same for the uncompressed model.
        kl: mean KL divergence of each sequence, nats.
        token_kl: KL divergence at every target of every sequence, nats.
        top1_agreement: per sequence, share of targets with the same most likely token.
    """

    nll: Float[Tensor, " sequences"]
    nll_reference: Float[Tensor, " sequences"]
    kl: Float[Tensor, " sequences"]
    token_kl: Float[Tensor, " targets"]
    top1_agreement: Float[Tensor, " sequences"]

    def summary(self) -> dict[str, float]:
        """Return the numbers of a table row; `_se` is a standard error over sequences.

        The increase over the reference is paired sequence by sequence: this removes the variation
        of the text itself, which is far larger.
        """
        # torch.exp returns inf for a ruined model, where math.exp raises
        perplexity = float(self.nll.double().mean().exp())
        reference = float(self.nll_reference.double().mean().exp())
        # delta method: d exp(mean) = exp(mean) d mean
        paired = perplexity * self.nll.double() - reference * self.nll_reference.double()
        return {
            "nll": float(self.nll.double().mean()),
            "perplexity": perplexity,
            "perplexity_se": perplexity * standard_error(self.nll),
            "perplexity_fp16": reference,
            "perplexity_increase": perplexity - reference,
            "perplexity_increase_se": standard_error(paired),
            "kl": float(self.kl.double().mean()),
            "kl_se": standard_error(self.kl),
            "kl_median": float(self.token_kl.quantile(0.5)),
            "kl_p99": float(self.token_kl.quantile(0.99)),
            "top1_agreement": float(self.top1_agreement.double().mean()),
        }

    def rows(self) -> list[dict[str, float]]:
        """Return the values of each sequence, for the results file."""
        columns = {
            "nll": self.nll,
            "nll_fp16": self.nll_reference,
            "kl": self.kl,
            "top1_agreement": self.top1_agreement,
        }
        return [
            {name: float(values[index]) for name, values in columns.items()}
            for index in range(len(self.nll))
        ]


@torch.no_grad()
def evaluate(
    model: Runnable,
    sequences: Int[Tensor, "sequences length"],
    reference: Reference,
    reference_head: nn.Linear,
) -> Evaluation:
    """Return the losses of `model` on all sequences, on the CPU.

    `reference_head` is moved to the device of the model's head.
    """
    own_head = head_of(model)
    reference_head.to(own_head.weight.device)
    nll, kl, same = [], [], []
    hidden = final_states(model, sequences, "evaluate")
    for ids, states, reference_states in zip(sequences, hidden, reference.hidden, strict=True):
        metrics = token_metrics(states, reference_states, ids, own_head, reference_head)
        nll.append(metrics.nll.mean())
        kl.append(metrics.kl)
        same.append(metrics.same_top1.float().mean())
    evaluation = Evaluation(
        nll=torch.stack(nll),
        nll_reference=reference.nll,
        kl=torch.stack([values.mean() for values in kl]),
        token_kl=torch.cat(kl),
        top1_agreement=torch.stack(same),
    )
    return to_device(evaluation, CPU)
