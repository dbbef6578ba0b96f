"""Exact allocation: brute force, the budget spent to the last group, equivariance, edges."""

import itertools
import math

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from radio.theory import integer_allocation as integer
from radio.theory.allocation import Allocation, allocate_bits, distortion
from radio.theory.integer_allocation import model_distortion

DEPTHS = 5  # of the small tables: 5^5 allocations are tried one by one


def allocate_integer(table, numel, rate_bits: float, parts: int = 1) -> Allocation:
    """All groups in some parts."""
    table_of = table.tensor_split(parts).__getitem__
    return integer.allocate_integer(table_of, numel.tensor_split(parts), rate_bits)


def total(table, numel, depths) -> float:
    return float((table.gather(1, depths[:, None])[:, 0] * numel).sum())


def small_problem(seed: int, kind: str, groups: int = 5):
    """Convex, merely falling or arbitrary tables of a few groups, of equal or unequal sizes."""
    generator = torch.Generator().manual_seed(seed)
    numel = torch.randint(1, 9, (groups,), generator=generator)
    table = torch.rand(groups, DEPTHS, generator=generator, dtype=torch.float64)
    if kind != "arbitrary":
        falls = (
            table[:, 1:].sort(dim=1, descending=True).values if kind == "convex" else table[:, 1:]
        )
        table = falls.sum(1, keepdim=True) - torch.nn.functional.pad(falls.cumsum(1), (1, 0))
    return table.clamp(min=0), numel


def brute_force(table, numel) -> list[float]:
    """Least distortion for every budget 0, 1, ... sum of all bits."""
    depths = torch.tensor(list(itertools.product(range(DEPTHS), repeat=len(numel))))
    costs = (depths * numel).sum(1)
    totals = (table.T.gather(0, depths) * numel).sum(1)
    best = torch.full((int(costs.max()) + 1,), math.inf, dtype=torch.float64)
    best = best.scatter_reduce(0, costs, totals, "amin")
    return best.cummin(0).values.tolist()


def solve(table, numel, budget: int) -> Allocation:
    return allocate_integer(table, numel, budget / int(numel.sum()))


@settings(max_examples=20)
@given(seed=st.integers(0, 10_000))
def test_convex_tables_and_equal_sizes_are_solved_exactly(seed):
    table, numel = small_problem(seed, "convex")
    numel = torch.full_like(numel, 3)
    for budget, best in enumerate(brute_force(table, numel)[1:], start=1):
        found = solve(table, numel, budget)
        assert total(table, numel, found.depths) == pytest.approx(best, rel=1e-9)


@settings(max_examples=25)
@given(seed=st.integers(0, 10_000), kind=st.sampled_from(["convex", "falling", "arbitrary"]))
def test_other_tables_are_solved_to_the_gain_of_one_move(seed, kind):
    """Exactly wherever the budget ends between two hull segments (Everett)."""
    table, numel = small_problem(seed, kind)
    items = []
    for curve, weights in zip(table.tolist(), numel.tolist(), strict=True):
        for low, high in itertools.pairwise(hull(curve)):
            fall, bits = curve[low] - curve[high], high - low
            items.append((fall / bits, bits * weights, fall * weights))
    items.sort(reverse=True)
    exact = set(itertools.accumulate(cost for _, cost, _ in items))
    largest = max((gain for _, _, gain in items), default=0.0)
    for budget, best in enumerate(brute_force(table, numel)[1:], start=1):
        reached = total(table, numel, solve(table, numel, budget).depths)
        assert best - 1e-9 <= reached <= best + largest + 1e-9
        if budget in exact:
            assert reached == pytest.approx(best, rel=1e-9, abs=1e-12)


def hull(curve: list[float]) -> list[int]:
    """Vertices of the falling part of a lower hull, by Andrew's monotone chain."""
    chain: list[int] = []
    for b in range(curve.index(min(curve)) + 1):
        while len(chain) > 1:
            (u, v), d = chain[-2:], curve
            if (d[v] - d[u]) * (b - u) < (d[b] - d[u]) * (v - u):
                break
            chain.pop()
        chain.append(b)
    return chain


def problem(seed: int, groups: int = 300):
    """Measured-looking tables: 4^-B with noise, so neither convex nor always falling."""
    generator = torch.Generator().manual_seed(seed)
    sensitivity = torch.exp(4 * torch.randn(groups, generator=generator))
    noise = torch.exp(0.5 * torch.randn(groups, 9, generator=generator))
    return model_distortion(sensitivity) * noise, torch.randint(
        1, 600, (groups,), generator=generator
    )


@given(seed=st.integers(0, 10_000), rate=st.floats(0.01, 8.0))
def test_budget_is_kept_and_spent_to_the_last_group(seed, rate):
    table, numel = problem(seed)
    found = allocate_integer(table, numel, rate)
    spent = int((found.depths * numel).sum())
    assert found.rate_bits == pytest.approx(spent / int(numel.sum()), rel=1e-12)
    assert found.rate_bits <= rate * (1 + 1e-9)
    left = rate * float(numel.sum()) - spent
    for n, depth in enumerate(found.depths.tolist()):
        for deeper in range(depth + 1, 9):
            gains = table[n, deeper] < table[n, depth]
            assert not gains or left < (deeper - depth) * int(numel[n])


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 10_000), rate=st.floats(0.01, 8.0), parts=st.integers(1, 20))
@pytest.mark.parametrize("ties", [False, True])
def test_a_sample_and_parts_find_what_all_groups_at_once_do(monkeypatch, ties, seed, rate, parts):
    """Whatever window the sample gives, and where many segments are equally steep."""
    table, numel = problem(seed)
    if ties:
        table = torch.exp2(table.clamp(1e-9).log2().round())
    whole = allocate_integer(table, numel, rate)
    with monkeypatch.context() as context:
        context.setattr(integer, "SAMPLE_GROUPS", 1 + seed % 40)
        found = allocate_integer(table, numel, rate, parts)
    assert torch.equal(found.depths, whole.depths)
    assert found[1:] == whole[1:]


@settings(max_examples=6)
@given(seed=st.integers(0, 1000))
def test_distortion_falls_with_the_rate(seed):
    table, numel = problem(seed, 40)
    rates = torch.linspace(0.02, 8, 150).tolist()
    falling = [total(table, numel, allocate_integer(table, numel, r).depths) for r in rates]
    assert all(a >= b * (1 - 1e-12) for a, b in itertools.pairwise(falling))


@given(seed=st.integers(0, 1000), log2_factor=st.integers(-12, 12))
def test_order_and_scale_do_not_matter(seed, log2_factor):
    table, numel = problem(seed)
    order = torch.randperm(len(numel), generator=torch.Generator().manual_seed(seed))
    found = allocate_integer(table, numel, 2.5)
    permuted = allocate_integer(table[order], numel[order], 2.5)
    assert torch.equal(permuted.depths, found.depths[order])
    scaled = allocate_integer(table * 2.0**log2_factor, numel, 2.5)
    assert torch.equal(scaled.depths, found.depths)
    assert scaled.log2_price == pytest.approx(found.log2_price + log2_factor)


@given(seed=st.integers(0, 1000), rate=st.floats(0.3, 7.5))
def test_never_worse_than_dual_ascent_at_its_rate(seed, rate):
    """On the high-resolution model, where dual ascent minimises as well."""
    generator = torch.Generator().manual_seed(seed)
    sensitivity = torch.exp(4 * torch.randn(300, generator=generator))
    numel = torch.full((300,), 64)
    ascent = allocate_bits(sensitivity, numel, rate)
    exact = allocate_integer(model_distortion(sensitivity), numel, ascent.rate_bits)
    bound = distortion(sensitivity, numel, ascent.depths)
    assert distortion(sensitivity, numel, exact.depths) <= bound * (1 + 1e-9)


def test_dead_groups_get_nothing_and_full_rate_gives_all():
    table, numel = problem(1)
    table[:100] = 0
    assert (allocate_integer(table, numel, 8.0).depths[:100] == 0).all()
    convex = model_distortion(torch.rand(50) + 0.1)
    assert (allocate_integer(convex, numel[:50], 8.0).depths == 8).all()


def test_a_curve_that_rises_is_left_at_its_minimum():
    table = torch.tensor([[4.0, 1.0, 3.0, 2.0]])
    assert allocate_integer(table, torch.tensor([10]), 3.0).depths.tolist() == [1]


def test_two_hundred_thousand_groups_spend_the_budget_to_a_hundred_thousandth():
    table, numel = problem(0, 200_000)
    found = allocate_integer(table, numel + 500, 3.0)
    assert found.rate_bits == pytest.approx(3.0, abs=1e-5)


@pytest.mark.parametrize("rate", [0.0, -1.0, 8.01, math.nan])
def test_refuses_a_rate_out_of_range(rate):
    with pytest.raises(ValueError, match="rate_bits"):
        allocate_integer(*problem(0), rate)


def test_refuses_tables_without_meaning():
    numel = torch.ones(1, dtype=torch.int64)
    for bad in (-1.0, math.nan, math.inf):
        with pytest.raises(ValueError, match="negative or non-finite"):
            allocate_integer(torch.tensor([[1.0, bad]]), numel, 1.0)
    with pytest.raises(ValueError, match="falls nowhere"):
        allocate_integer(torch.tensor([[1.0, 1.0, 2.0]]), numel, 1.0)
