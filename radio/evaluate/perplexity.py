"""Perplexity of a model on a text, and its distance from the reference."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from radio.evaluate.divergence import token_metrics
from radio.evaluate.reference import Reference
from radio.evaluate.spread import standard_error
from radio.models import Runnable, final_states, head_of
from radio.runtime.device import CPU, moved


@dataclass(frozen=True)
class Evaluation:
    """Losses of a model on the blocks of a text, with the reference's beside them.

    Attributes:
        nll: mean negative log-likelihood of each block, nats.
        nll_reference: the same of the uncompressed model.
        kl: mean KL divergence of each block, nats.
        token_kl: KL divergence at every target of every block, nats.
        top1_agreement: share of targets, block by block, on whose likeliest token both agree.
    """

    nll: Float[Tensor, " blocks"]
    nll_reference: Float[Tensor, " blocks"]
    kl: Float[Tensor, " blocks"]
    token_kl: Float[Tensor, " targets"]
    top1_agreement: Float[Tensor, " blocks"]

    def summary(self) -> dict[str, float]:
        """The numbers of a table row; `_se` is a standard error over blocks.

        The increase over the reference is paired block by block, so that the text's own
        variation, which is far larger, drops out.
        """
        # torch.exp: a ruined model's perplexity may be infinite, which is no error here
        perplexity = float(self.nll.double().mean().exp())
        reference = float(self.nll_reference.double().mean().exp())
        # delta method: exp(mean) moves by exp(mean) times what the mean moves
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
        """The block-by-block values, for the results file."""
        columns = {
            "nll": self.nll,
            "nll_fp16": self.nll_reference,
            "kl": self.kl,
            "top1_agreement": self.top1_agreement,
        }
        return [
            {name: float(values[block]) for name, values in columns.items()}
            for block in range(len(self.nll))
        ]


@torch.no_grad()
def evaluate(
    model: Runnable,
    blocks: Int[Tensor, "blocks length"],
    reference: Reference,
    reference_head: nn.Linear,
) -> Evaluation:
    """Run `model` over all blocks and compare with the reference at every target, on the CPU.

    `reference_head` is moved to where the model's head is.
    """
    own_head = head_of(model)
    reference_head.to(own_head.weight.device)
    nll, kl, same = [], [], []
    hidden = final_states(model, blocks, "evaluate")
    for ids, ours, theirs in zip(blocks, hidden, reference.hidden, strict=True):
        metrics = token_metrics(ours, theirs, ids, own_head, reference_head)
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
    return moved(evaluation, CPU)
