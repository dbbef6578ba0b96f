"""The loop: rate, biases, choice of the iteration, both sets of choices, refusals."""

import dataclasses
import math

import pytest
import torch

import radio.paper_loop.loop as loop
from radio.allocate.layers import allocate_layers
from radio.data.tokens import sha256_of_ids
from radio.evaluate.perplexity import evaluate
from radio.evaluate.reference import compute_reference
from radio.models import decoder_linears, head, load_model
from radio.pack.file import assemble, install
from radio.paper_loop.requantized_model import RequantizedModel
from radio.quantize.blockwise import MethodInputs, quantize_layers
from radio.quantize.methods.radio import Radio
from radio.runtime.errors import RadioError
from tests.paper_loop.setting import LENGTH, RATE_BITS, WIDTH, refinement, run, text
from tests.tiny import state_in


def test_every_iteration_meets_the_rate(checkpoint):
    refined = run(checkpoint)
    assert [entry["iteration"] for entry in refined.trace] == [1, 2, 3, 4]
    assert [entry["sequences"] for entry in refined.trace] == [2, 4, 6, 8]
    # groups of 8 weights in a model of some thousands: one more bit for one group
    weights = sum(
        linear.weight.numel() for linear in decoder_linears(load_model(checkpoint)).values()
    )
    for entry in refined.trace:
        assert abs(entry["rate_bits"] - RATE_BITS) <= 16 / weights
    validated = [entry["iteration"] for entry in refined.trace if entry["kl"] is not None]
    assert validated == [2, 4]
    assert [entry["changed_share"] is None for entry in refined.trace] == [True] + [False] * 3
    assert 0 < refined.trace[1]["changed_share"] < 1


def test_the_result_serves_the_later_steps_and_scores_what_the_trace_says(checkpoint):
    """allocate -> quantize -> install on its statistics is the model that was validated."""
    validation = text(3, seed=4)
    refined = run(checkpoint, validation=validation)
    depths, _ = allocate_layers(refined.statistics, RATE_BITS, "ascent")
    model = load_model(checkpoint)
    reference = compute_reference(model, validation, sha256_of_ids(validation))
    layers = quantize_layers(model, Radio(), RATE_BITS, MethodInputs(refined.statistics, depths))
    install(model, assemble(model, layers))
    found = evaluate(model, validation, reference, head(load_model(checkpoint))).kl.mean()
    told = refined.trace[refined.best_iteration - 1]
    # a quantized file has the rest of the model in float16, the loop has not
    assert float(found) == pytest.approx(told["kl"], rel=0.02)


def test_biases_leave_the_mean_output_unchanged_on_the_running_means(checkpoint, monkeypatch):
    checked = []
    install_original = RequantizedModel.install

    def check(self, method, statistics, depths, rate_bits):
        install_original(self, method, statistics, depths, rate_bits)
        for name, linear in decoder_linears(self.model).items():
            mean, bias = statistics[name].input_mean, self.biases[name]
            wanted = self.weights[name] @ mean + (0 if bias is None else bias)
            got = linear.weight @ mean + linear.bias
            # biases are stored in float16
            torch.testing.assert_close(got, wanted, rtol=1e-3, atol=1e-3)
            checked.append(float(((linear.weight - self.weights[name]) @ mean).abs().max()))

    monkeypatch.setattr(RequantizedModel, "install", check)
    run(checkpoint, rate_bits=2.0)
    assert max(checked) > 0.01  # there was something to correct


@pytest.mark.parametrize("divergences, best", [([3.0, 1.0, 2.0, 1.0], 2), ([math.nan, 5, 4, 6], 3)])
def test_the_iteration_of_least_validation_divergence_is_kept(
    llama, monkeypatch, divergences, best
):
    told = iter(divergences)
    monkeypatch.setattr(loop, "_validate", lambda *_: {"kl": next(told), "perplexity": 1.0})
    refined = run(llama, validate_every=1)
    assert refined.best_iteration == best
    monkeypatch.setattr(loop, "_validate", lambda *_: {"kl": 1.0, "perplexity": 1.0})
    shorter = run(llama, iterations=best, validate_every=best)
    for name, entry in shorter.statistics.items():
        assert torch.equal(entry.grad_var, refined.statistics[name].grad_var)


def test_validation_chooses_and_does_nothing_else(llama):
    """Statistics of an iteration are the same however often and on what it is validated."""
    often = run(llama, validate_every=1, validation=text(2, seed=9))
    last = run(llama, iterations=often.best_iteration, validate_every=99)
    for name, entry in often.statistics.items():
        assert torch.equal(entry.grad_var, last.statistics[name].grad_var)
        assert torch.equal(entry.input_mean, last.statistics[name].input_mean)


def test_no_finite_divergence_is_told(llama, monkeypatch):
    monkeypatch.setattr(loop, "_validate", lambda *_: {"kl": math.nan, "perplexity": math.inf})
    with pytest.raises(RadioError, match=r"never finite at rate_bits=3\.0"):
        run(llama)


@pytest.mark.parametrize("author", [False, True])
def test_weight_variances_are_about_mean_or_median(checkpoint, author):
    statistics = run(checkpoint, follow_author_code=author).statistics
    for name, linear in decoder_linears(load_model(checkpoint)).items():
        entry = statistics[name]
        for c, found in enumerate(entry.weight_var):
            group = linear.weight.detach()[entry.cluster == c]
            center_on = group.median(dim=0).values if author else group.mean(dim=0)
            torch.testing.assert_close(found, (group - center_on).square().mean(dim=0))


def test_authors_choices_change_axes(llama, monkeypatch):
    asked = []
    axes = loop.output_axes
    monkeypatch.setattr(loop, "output_axes", lambda *given: asked.append(axes(*given)) or asked[-1])
    for author in (False, True):
        run(llama, follow_author_code=author, iterations=1, pca_width=4)
    ours, authors = asked
    assert ours.shape == authors.shape == (4, WIDTH)
    assert not torch.allclose(ours, authors)


def test_random_signs_run_the_same_loop(checkpoint, monkeypatch):
    monkeypatch.setattr(loop, "output_axes", None)  # no PCA is made
    refined = run(checkpoint, gradients="hidden", tokens=1000)
    assert len(refined.trace) == 4 and refined.trace[-1]["kl"] > 0


def test_sequences_are_cycled_in_an_order_of_the_seed(llama, monkeypatch):
    seen = []
    backward = loop.PcaTokens.backward
    monkeypatch.setattr(
        loop.PcaTokens,
        "backward",
        lambda self, model, ids, index: (seen.append(ids), backward(self, model, ids, index)),
    )
    blocks, orders = text(6), []
    for seed in (0, 1):
        seen.clear()
        run(llama, blocks=blocks, seed=seed)
        orders.append([int((blocks == ids).all(dim=1).nonzero()) for ids in seen])
    for order in orders:
        assert order[:4] == order[4:] and len(set(order[:4])) == 4  # sequences=4 of 6
    assert orders[0] != orders[1]


def test_no_gradient_and_no_hook_is_left(checkpoint):
    model = load_model(checkpoint)
    refinement().run(model, text(4), text(1), RATE_BITS, 0, state_in(checkpoint.parent))
    # a layer's last bias is new, and takes no part in gradients either
    assert all(parameter.grad is None for parameter in model.parameters())
    assert not any(linear._forward_pre_hooks for linear in decoder_linears(model).values())


def test_bfloat16_measures_what_float32_does(llama):
    """After one minibatch, that is; later ones see weights that differ by whole cells."""
    half, full = (
        run(llama, dtype=dtype, iterations=1).statistics for dtype in ("bfloat16", "float32")
    )
    for name, entry in full.items():
        assert half[name].grad_var.dtype == half[name].input_mean.dtype == torch.float32
        # 8 bits of mantissa, through a dozen operations
        torch.testing.assert_close(half[name].input_mean, entry.input_mean, rtol=0, atol=0.03)
        total = half[name].grad_var.sum() / entry.grad_var.sum()
        assert 0.9 < total < 1.1


@pytest.mark.parametrize(
    "settings, sentence",
    [
        ({"sequences": 5}, r"refinement.estimator.sequences=5 exceeds the 4 blocks"),
        ({"validation": text(0)}, "validation text has 0 blocks"),
        ({"tokens": 9}, rf"tokens=9 cannot be spread over a block: set 2 to {LENGTH}"),
        ({"tokens": 1}, "tokens=1 is not accepted"),
        ({"rate_bits": 0.0}, r"rate_bits=0\.0"),
        ({"rate_bits": 8.5}, r"rate_bits=8\.5"),
        ({"pca_width": 0}, "pca_width=0 is not accepted"),
        ({"iterations": 0}, "iterations=0 is not accepted"),
        ({"validate_every": 0}, "validate_every=0 is not accepted"),
        ({"decay": 0.0}, r"decay=0\.0 is not accepted"),
        ({"decay": 1.5}, r"decay=1\.5 is not accepted"),
        ({"gradients": "exact"}, "gradients=exact is not accepted: set one of pca, hidden, kl"),
    ],
)
def test_refusals(llama, settings, sentence):
    with pytest.raises(RadioError, match=sentence):
        run(llama, **settings)


def test_gradients_that_are_not_finite_are_told(llama, monkeypatch):
    def broken(self, model, ids, index):
        next(iter(decoder_linears(model).values())).weight.sum().mul(math.nan).backward()

    monkeypatch.setattr(loop.PcaTokens, "backward", broken)
    with pytest.raises(RadioError, match=r"are not finite: set refinement\.estimator\.dtype"):
        run(llama)


def test_settings_are_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        refinement().batch = 3
