"""Per-token passes against autograd, the estimate against the exact sum, running means."""

import copy

import pytest
import torch

from radio.calibrate.random_sign import accumulating
from radio.models import decoder_linears, final_hidden, load_model
from radio.paper_loop.gradients import PcaTokens, RandomSigns, output_axes, token_positions
from radio.paper_loop.state import State
from tests.calibrate.test_random_sign import exact_grad_var
from tests.paper_loop.setting import LENGTH, WIDTH, run, text


def squares(model, ids, axis, positions) -> dict[str, torch.Tensor]:
    """sum over positions t of (d axis . z_t / dW)^2, by autograd, one token at a time."""
    linears = decoder_linears(model)
    weights = [linear.weight.requires_grad_(True) for linear in linears.values()]
    total = {name: torch.zeros_like(linear.weight) for name, linear in linears.items()}
    for position in positions:
        value = final_hidden(model, ids)[0, position] @ axis
        for name, gradient in zip(total, torch.autograd.grad(value, weights), strict=True):
            total[name] += gradient.square()
    return total


def fresh_state(model, axes) -> State:
    weights = {name: linear.weight.detach() for name, linear in decoder_linears(model).items()}
    return State.fresh(axes, weights)


def test_a_sample_is_the_sum_over_tokens_propagated_alone(checkpoint):
    model, ids = load_model(checkpoint), text(1)
    sampler = PcaTokens(torch.linalg.qr(torch.randn(WIDTH, WIDTH)).Q[:5].contiguous(), 3)
    state = fresh_state(model, sampler.axes)
    with accumulating(model, state):
        sampler.backward(model, ids, index=7)
    wanted = squares(load_model(checkpoint), ids, sampler.axes[7 % 5], [0, 3, 7])
    for name, total in wanted.items():
        torch.testing.assert_close(state.grad_sum[name], total)
    # together, cross terms would come in
    together = sum(squares(load_model(checkpoint), ids, sampler.axes[2], [p])[name] for p in (0, 3))
    assert not torch.allclose(together, total)


def test_all_axes_and_tokens_sum_to_the_exact_derivative(checkpoint):
    """Each of the 3 x 16 pairs (sequence, axis) is sampled once, as 3 and 16 share no factor.

    A sample has one axis of `width` and all tokens: times width / tokens it is `grad_var`.
    """
    ids = text(3)
    refined = run(
        checkpoint,
        blocks=ids,
        sequences=3,
        batch=3 * WIDTH,
        iterations=1,
        tokens=LENGTH,
        pca_width=WIDTH,
    )
    exact = exact_grad_var(checkpoint, ids)
    for name, entry in refined.statistics.items():
        for c, found in enumerate(entry.grad_var):
            wanted = exact[name][entry.cluster == c].mean(dim=0)
            # a key's bias moves no output: its exact gradient is 0, ours is rounding
            torch.testing.assert_close(found, wanted, rtol=2e-4, atol=1e-9)


@pytest.mark.parametrize("choices, weights", [(True, [1, 1, 1]), (False, [0.25, 0.5, 1])])
def test_running_means_are_direct_averages(checkpoint, monkeypatch, choices, weights):
    """Over samples at changing weights; `decay` weighs minibatches, the author's code does not."""
    seen, backward = [], PcaTokens.backward

    def spy(self, model, ids, index):
        layers = {
            name: (linear.weight.detach().clone(), copy.deepcopy(linear.bias))
            for name, linear in decoder_linears(model).items()
        }
        seen.append((layers, ids, self.axes[index % len(self.axes)]))
        backward(self, model, ids, index)

    monkeypatch.setattr(PcaTokens, "backward", spy)
    settings = {"iterations": 3, "validate_every": 9, "decay": 0.5, "follow_author_code": choices}
    refined = run(checkpoint, **settings)

    grads, inputs, mass = {}, {}, 0.0
    for index, (layers, ids, axis) in enumerate(seen):
        model, weight = load_model(checkpoint), weights[index // 2]
        means = {}
        for name, linear in decoder_linears(model).items():
            linear.weight.data, linear.bias = layers[name]

            def keep(_, args, name=name, means=means):
                means.setdefault(name, args[0].detach().flatten(0, -2).mean(dim=0))

            linear.register_forward_pre_hook(keep)
        for name, square in squares(model, ids, axis, token_positions(LENGTH, 3)).items():
            grads[name] = grads.get(name, 0) + weight * square
            inputs[name] = inputs.get(name, 0) + weight * means[name]
        mass += weight
    assert len(seen) == 6
    assert any(not torch.equal(seen[0][0][n][0], seen[-1][0][n][0]) for n in grads)
    for name, entry in refined.statistics.items():
        torch.testing.assert_close(entry.input_mean, inputs[name] / mass, rtol=1e-4, atol=1e-6)
        for c, found in enumerate(entry.grad_var):
            wanted = grads[name][entry.cluster == c].mean(dim=0) * WIDTH / 3 / mass
            torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-9)


def test_random_signs_estimate_the_same_sum(checkpoint):
    model, ids = load_model(checkpoint), text(1)
    sampler = RandomSigns("hidden", 0, LENGTH)
    state = fresh_state(model, torch.zeros(0, WIDTH))
    with accumulating(model, state):
        for index in range(200):
            sampler.backward(model, ids, index)
    exact = torch.cat([grad.flatten() for grad in exact_grad_var(checkpoint, ids).values()])
    found = torch.cat([total.flatten() for total in state.grad_sum.values()])
    ratio = (found * sampler.per_token / 200).sum() / exact.sum()
    assert abs(ratio - 1) < 0.05


def test_axes_of_the_outputs(checkpoint):
    model, ids = load_model(checkpoint), text(4)
    with torch.no_grad():
        z = torch.cat([final_hidden(model, row[None])[0] for row in ids]).double()
    axes = output_axes(model, ids, WIDTH, follow_author_code=False).double()
    scores = (z - z.mean(dim=0)) @ axes.T
    torch.testing.assert_close(axes @ axes.T, torch.eye(WIDTH).double(), atol=1e-6, rtol=0)
    covariance = scores.T @ scores / len(z)
    spread = torch.linalg.svdvals(z - z.mean(dim=0)).square() / len(z)
    torch.testing.assert_close(covariance, torch.diag(spread), atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("length, tokens", [(2048, 17), (2048, 9), (512, 17), (8, 8), (8, 2)])
def test_positions_are_distinct_and_span_the_block(length, tokens):
    positions = token_positions(length, tokens)
    assert len(positions) == tokens and (positions[0], positions[-1]) == (0, length - 1)
    gaps = torch.tensor(positions).diff()
    assert gaps.min() >= 1 and gaps.max() - gaps.min() <= 1


def test_the_papers_positions():
    assert token_positions(2048, 17) == [0, *range(127, 2048, 128)]
