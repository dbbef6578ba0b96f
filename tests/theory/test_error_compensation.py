"""Error feedback: the factor's definition, optimal brain quantization, gain, order, extremes."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from radio.theory.error_compensation import (
    BLOCK_COLS,
    BeforeRun,
    inverse_factor,
    with_error_compensation,
)

STEP = 0.25


def rounded(_: int, column: torch.Tensor) -> torch.Tensor:
    return torch.round(column / STEP) * STEP


def problem(rows: int, cols: int, seed: int = 0, dtype=torch.float64):
    """Weights, and the second moment of inputs that are correlated and not centred."""
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(rows, cols, generator=generator, dtype=dtype)
    mixing = torch.randn(cols, cols, generator=generator, dtype=dtype)
    inputs = torch.randn(4 * cols, cols, generator=generator, dtype=dtype) @ mixing + 0.5
    return weight, inputs.T @ inputs / len(inputs)


def damped(hessian: torch.Tensor, damping_frac: float = 0.01) -> torch.Tensor:
    return hessian + damping_frac * hessian.diagonal().mean() * torch.eye(len(hessian)).to(hessian)


def output_error(error: torch.Tensor, hessian: torch.Tensor) -> float:
    return float(((error @ hessian) * error).sum())


def optimal_brain(weight: torch.Tensor, hessian: torch.Tensor) -> torch.Tensor:
    """One column at a time; the inverse of the remaining Hessian is computed anew each time."""
    weight, result = weight.clone(), torch.empty_like(weight)
    for j in range(weight.shape[1]):
        inverse = torch.linalg.inv(hessian[j:, j:])
        result[:, j] = rounded(j, weight[:, j])
        error = (weight[:, j] - result[:, j]) / inverse[0, 0]
        weight[:, j:] -= torch.outer(error, inverse[0])
    return result


@pytest.mark.parametrize("damping_frac", [0.0, 0.01, 0.3])
def test_the_factor_is_upper_and_squares_to_the_inverse(damping_frac):
    _, hessian = problem(1, 20)
    upper = inverse_factor(hessian, damping_frac)
    assert torch.equal(upper, upper.triu()) and (upper.diagonal() > 0).all()
    product = upper.T @ upper @ damped(hessian, damping_frac)
    torch.testing.assert_close(product, torch.eye(20).double(), rtol=0, atol=1e-9)


def test_the_factor_is_gptqs():
    """Cholesky, Cholesky inverse, upper Cholesky, as the GPTQ repository computes it."""
    _, hessian = problem(1, 20)
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(damped(hessian)))
    theirs = torch.linalg.cholesky(inverse, upper=True)
    torch.testing.assert_close(inverse_factor(hessian), theirs, rtol=1e-8, atol=1e-10)


@given(seed=st.integers(0, 30), rows=st.integers(1, 5), cols=st.integers(1, 24))
def test_equals_optimal_brain_quantization(seed, rows, cols):
    weight, hessian = problem(rows, cols, seed)
    result = with_error_compensation(weight, inverse_factor(hessian), rounded)
    wanted = optimal_brain(weight, damped(hessian))
    torch.testing.assert_close(result, wanted, rtol=0, atol=1e-9)


@pytest.mark.parametrize("cols", [BLOCK_COLS - 1, BLOCK_COLS, BLOCK_COLS + 1, 2 * BLOCK_COLS + 5])
def test_equals_optimal_brain_quantization_across_blocks(cols):
    weight, hessian = problem(3, cols)
    result = with_error_compensation(weight, inverse_factor(hessian), rounded)
    torch.testing.assert_close(result, optimal_brain(weight, damped(hessian)), rtol=0, atol=1e-9)


@pytest.mark.parametrize("block", [1, 7, 64, 1000])
def test_block_size_is_a_matter_of_speed(block, monkeypatch):
    weight, hessian = problem(4, 150)
    factor = inverse_factor(hessian)
    wanted = with_error_compensation(weight, factor, rounded)
    monkeypatch.setattr("radio.theory.error_compensation.BLOCK_COLS", block)
    torch.testing.assert_close(
        with_error_compensation(weight, factor, rounded), wanted, rtol=0, atol=1e-9
    )


def test_feedback_lowers_the_output_error():
    """Of correlated inputs by a lot on average, and for nearly every draw."""
    ratios = []
    for seed in range(40):
        weight, hessian = problem(8, 32, seed)
        plain = output_error(rounded(0, weight) - weight, hessian)
        fed = with_error_compensation(weight, inverse_factor(hessian), rounded)
        ratios.append(output_error(fed - weight, hessian) / plain)
    ratios = torch.tensor(ratios)
    assert ratios.mean() < 0.5 and (ratios < 1).float().mean() > 0.95


def test_uncorrelated_inputs_get_no_feedback():
    weight = torch.randn(8, 32)
    factor = inverse_factor(torch.diag(torch.rand(32) + 0.1))
    assert torch.equal(with_error_compensation(weight, factor, rounded), rounded(0, weight))


def test_order_is_that_of_permuted_columns():
    """Every index and every value belongs to the column where it stood."""
    weight, hessian = problem(4, 140)
    order = hessian.diagonal().argsort(descending=True)
    turns = []

    def noted(j: int, column: torch.Tensor) -> torch.Tensor:
        turns.append(j)
        return rounded(j, column)

    result = with_error_compensation(weight, inverse_factor(hessian, order=order), noted, order)
    permuted = inverse_factor(hessian[order][:, order])
    wanted = with_error_compensation(weight[:, order], permuted, rounded)
    assert turns == order.tolist()
    assert torch.equal(result[:, order], wanted)
    as_they_stand = torch.arange(140)
    same = with_error_compensation(weight, inverse_factor(hessian), rounded, as_they_stand)
    assert torch.equal(same, with_error_compensation(weight, inverse_factor(hessian), rounded))


@pytest.mark.parametrize("run_cols", [1, 5, 76, BLOCK_COLS, BLOCK_COLS + 20, 1000])
def test_a_run_is_seen_after_the_errors_of_all_before_it(run_cols):
    """Inside blocks of columns, at their ends, and across several of them."""
    cols = 2 * BLOCK_COLS + 40
    weight, hessian = problem(3, cols)
    order = torch.randperm(cols)
    seen = {}

    def see(start: int, run: torch.Tensor) -> None:
        seen[start] = run.clone()

    factor = inverse_factor(hessian, order=order)
    result = with_error_compensation(weight, factor, rounded, order, BeforeRun(run_cols, see))
    assert torch.equal(result, with_error_compensation(weight, factor, rounded, order))
    assert list(seen) == list(range(0, cols, run_cols))
    for start, run in seen.items():
        before, after = order[:start], order[start:]
        # what is left to do at best, given the errors already made
        made, moment = (result - weight)[:, before], damped(hessian)
        response = torch.linalg.solve(moment[after][:, after], moment[after][:, before] @ made.T)
        wanted = (weight[:, after] - response.T)[:, :run_cols]
        torch.testing.assert_close(run, wanted, rtol=0, atol=1e-8)


def test_codes_kept_by_the_callback_decode_to_the_result():
    weight, hessian = problem(5, 140, dtype=torch.float32)
    codes = torch.full((5, 140), 99.0)

    def coded(j: int, column: torch.Tensor) -> torch.Tensor:
        assert (codes[:, j] == 99).all()  # a column has one turn
        codes[:, j] = torch.round(column / STEP).clamp(-8, 7)
        return codes[:, j] * STEP

    before = weight.clone()
    result = with_error_compensation(weight, inverse_factor(hessian), coded)
    assert torch.equal(result, codes * STEP) and result.is_contiguous()
    assert torch.equal(weight, before)


def test_a_rounder_that_changes_nothing_leaves_the_weights():
    weight, hessian = problem(5, 140, dtype=torch.float32)
    assert torch.equal(
        with_error_compensation(weight, inverse_factor(hessian), lambda j, c: c), weight
    )


def test_inputs_that_move_together_share_one_error():
    """Rank one: the output sees only the sum, and all but the last error is made up for."""
    weight, ones = torch.rand(16, 12).double(), torch.ones(12, 12).double()
    fed = with_error_compensation(weight, inverse_factor(ones, 1e-6), rounded)
    assert (fed - weight).sum(dim=1).abs().max() <= 0.51 * STEP
    assert (rounded(0, weight) - weight).sum(dim=1).abs().max() > STEP


@pytest.mark.parametrize("damping_frac", [0.0, 0.01])
def test_singular_and_nearly_indefinite_hessians(damping_frac):
    """Fewer tokens than inputs, in float32, less a rounding error: still a factor, and a gain."""
    weight = torch.randn(8, 60)
    inputs = torch.randn(20, 60)
    hessian = inputs.T @ inputs / 20 - 1e-5 * torch.eye(60)
    assert torch.linalg.eigvalsh(hessian).min() < 0
    upper = inverse_factor(hessian, damping_frac)
    assert torch.isfinite(upper).all() and torch.equal(upper, inverse_factor(hessian, damping_frac))
    fed = with_error_compensation(weight, upper, rounded)
    plain = output_error(rounded(0, weight) - weight, hessian)
    assert output_error(fed - weight, hessian) < 0.7 * plain


@pytest.mark.parametrize("rest", [0.0, -1e-3])
def test_dead_inputs_are_rounded_alone_and_disturb_no_other(rest):
    """Also where the second moment less the squared mean leaves a negative rest of rounding."""
    weight, hessian = problem(4, 30)
    dead = torch.tensor([0, 7, 29])
    alive = torch.tensor([j for j in range(30) if j not in dead.tolist()])
    hessian[dead], hessian[:, dead] = rest, rest
    unit = hessian[alive, alive].sum() / 30  # the mean is over all inputs
    kept = hessian[alive][:, alive]
    wanted = optimal_brain(weight[:, alive], kept + 0.01 * unit * torch.eye(27).double())
    upper = inverse_factor(hessian)
    assert (upper[dead][:, alive] == 0).all() and (upper[alive][:, dead] == 0).all()
    result = with_error_compensation(weight, upper, rounded)
    torch.testing.assert_close(result[:, alive], wanted, rtol=0, atol=1e-9)
    assert torch.equal(result[:, dead], rounded(0, weight[:, dead]))


def test_all_inputs_dead():
    assert torch.equal(inverse_factor(torch.zeros(3, 3), damping_frac=0.0), torch.eye(3))


def test_one_column():
    weight = torch.randn(6, 1)
    assert torch.equal(
        with_error_compensation(weight, inverse_factor(torch.ones(1, 1)), rounded),
        rounded(0, weight),
    )


@pytest.mark.parametrize(
    "hessian",
    [torch.tensor([[1.0, 9.0], [9.0, 1.0]]), torch.full((2, 2), torch.nan), torch.ones(2, 2) / 0],
)
def test_refuses_what_is_no_second_moment(hessian):
    with pytest.raises(ValueError, match="not positive semidefinite"):
        inverse_factor(hessian)
