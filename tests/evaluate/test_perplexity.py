"""Perplexity and its standard errors; the reference cache; the noise floor."""

import math

import pytest
import torch

from radio.evaluate.divergence import standard_error
from radio.evaluate.perplexity import Evaluation, evaluate
from radio.evaluate.reference import compute_reference, load_reference, save_reference
from radio.models import head, load_model
from radio.runtime.errors import RadioError
from tests.tiny import tiny_llama


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return load_model(tiny_llama(tmp_path_factory.mktemp("tiny") / "model"))


@pytest.fixture
def sequences():
    return torch.randint(2, 300, (6, 32), generator=torch.Generator().manual_seed(1))


def test_perplexity_equals_the_models_own_loss(model, sequences):
    """The expected value is transformers' loss, averaged over all targets."""
    result = evaluate(
        model, sequences, compute_reference(model, sequences, "x"), head(model)
    ).summary()
    with torch.no_grad():
        loss = model(input_ids=sequences, labels=sequences).loss.item()
    assert result["perplexity"] == pytest.approx(math.exp(loss), rel=1e-5)
    assert result["perplexity_fp16"] == pytest.approx(math.exp(loss), rel=1e-5)


def test_the_reference_has_no_divergence_from_itself(model, sequences):
    """Float16 rounding of the cached hidden states costs far less than any method."""
    result = evaluate(
        model, sequences, compute_reference(model, sequences, "x"), head(model)
    ).summary()
    assert abs(result["kl"]) < 1e-6 and result["top1_agreement"] > 0.99
    assert result["perplexity_increase"] == pytest.approx(0, abs=1e-3)


def test_a_damaged_model_diverges(model, sequences, tmp_path):
    reference = compute_reference(model, sequences, "x")
    damaged = load_model(tiny_llama(tmp_path / "other"))
    with torch.no_grad():
        damaged.model.layers[0].mlp.down_proj.weight += 0.3
    result = evaluate(damaged, sequences, reference, head(model)).summary()
    assert result["kl"] > 0.01 and result["top1_agreement"] < 1
    assert result["kl_median"] <= result["kl_p99"]


def test_reference_round_trip_and_refusal_of_another_text(model, sequences, tmp_path):
    reference = compute_reference(model, sequences, "abc")
    save_reference(tmp_path / "r.safetensors", reference)
    loaded = load_reference(tmp_path / "r.safetensors", "abc")
    assert torch.equal(loaded.hidden, reference.hidden) and torch.equal(loaded.nll, reference.nll)
    with pytest.raises(RadioError, match="another text"):
        load_reference(tmp_path / "r.safetensors", "abd")


def test_summary_by_hand():
    nll, reference = torch.tensor([3.0, 3.2, 2.8]), torch.tensor([2.9, 3.0, 2.8])
    result = Evaluation(
        nll=nll,
        nll_reference=reference,
        kl=torch.tensor([0.1, 0.2, 0.3]),
        token_kl=torch.arange(101) / 100,
        top1_agreement=torch.tensor([1.0, 0.5, 0.75]),
    ).summary()
    assert result["perplexity"] == pytest.approx(math.exp(3.0))
    assert result["perplexity_se"] == pytest.approx(math.exp(3.0) * 0.2 / math.sqrt(3), rel=1e-4)
    assert result["perplexity_increase"] == pytest.approx(math.exp(3.0) - math.exp(2.9))
    assert result["kl"] == pytest.approx(0.2) and result["kl_median"] == pytest.approx(0.5)
    assert result["kl_p99"] == pytest.approx(0.99) and result["top1_agreement"] == 0.75


def test_pairing_removes_the_texts_own_variation():
    """Sequences differ widely and the method adds a constant: only the paired error is small."""
    reference = torch.linspace(1, 5, 50)
    added = 0.1 + 0.01 * torch.sin(torch.arange(50.0))
    evaluation = Evaluation(reference + added, reference, added, added, torch.ones(50)).summary()
    assert evaluation["perplexity_increase_se"] < 0.2 * evaluation["perplexity_se"]
    # Monte Carlo over resampled sequences agrees with the delta method
    generator = torch.Generator().manual_seed(0)
    draws = torch.randint(0, 50, (4000, 50), generator=generator)
    means, ours = reference[draws].mean(1), (reference + added)[draws].mean(1)
    spread = (ours.exp() - means.exp()).std().item()
    assert evaluation["perplexity_increase_se"] == pytest.approx(spread, rel=0.15)


def test_one_sequence_has_no_standard_error():
    assert standard_error(torch.tensor([3.0])) == 0.0
