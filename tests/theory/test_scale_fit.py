"""Fits of location and scale: optimal search, least squares, float16, degenerate groups."""

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from radio.theory.codebook import Codebook, companded, decode, encode, uniform
from radio.theory.scale_codec import STORES, in_bytes, in_float16
from radio.theory.scale_fit import FITS, SEARCH_GRID, least_squares, refitted, search, with_gain


def normal_groups(seed: int, groups: int = 5, numel: int = 97) -> torch.Tensor:
    return torch.randn(groups, numel, generator=torch.Generator().manual_seed(seed)) * 0.1 + 0.02


def moments_of(groups):
    location = groups.median(dim=1).values
    return location, (groups - location[:, None]).square().mean(dim=1).sqrt()


def fitted(fit: str, groups, codebook: Codebook, store=in_float16):
    return FITS[fit](groups, *moments_of(groups), codebook, store)


def squared_error(groups, location, scale, codebook: Codebook):
    return (
        decode(encode(groups, location, scale, codebook), location, scale, codebook) - groups
    ).square()


@pytest.mark.parametrize("store", STORES.values())
@pytest.mark.parametrize("bits", range(0, 6))
def test_search_finds_the_best_point_of_the_grid(bits, store):
    """Against trying every candidate by quantizing all weights."""
    groups, codebook = normal_groups(bits), companded(bits)
    location, scale = moments_of(groups)
    found_location, found_scale = search(groups, location, scale, codebook, store)

    center_on = store(location, scale)[0]
    lines = [store(center_on, scale * f) for f in torch.exp2(SEARCH_GRID)]
    errors = torch.stack([squared_error(groups, *line, codebook).sum(1) for line in lines])
    if bits:  # at depth 0 every scale is equally good, and the first is taken
        scales = torch.stack([line[1] for line in lines])
        best_scale = scales.gather(0, errors.argmin(0)[None])[0]
        torch.testing.assert_close(found_scale, best_scale)
    lines = [store(center_on + found_scale * g, found_scale) for g in SEARCH_GRID]
    errors = torch.stack([squared_error(groups, *line, codebook).sum(1) for line in lines])
    found = squared_error(groups, found_location, found_scale, codebook).sum(1)
    torch.testing.assert_close(found, errors.amin(0), rtol=1e-5, atol=0)


@pytest.mark.parametrize("fit", FITS)
@pytest.mark.parametrize("bits", range(1, 7))
def test_lines_in_bytes_cost_next_to_nothing(fit, bits):
    """On as many weights as a group has; a step of the scale is a tenth of it."""
    groups, book = normal_groups(bits, groups=64, numel=512), companded(bits)
    errors = [
        float(squared_error(groups, *fitted(fit, groups, book, store), book).sum())
        for store in (in_float16, in_bytes)
    ]
    assert errors[1] <= errors[0] * (1.02 if fit == "search" else 1.05)


@pytest.mark.parametrize("fit", FITS)
@pytest.mark.parametrize("bits", [0, 1, 3, 8])
@pytest.mark.parametrize("law", [companded, uniform])
def test_every_fit_survives_float16_and_is_exact_on_constant_groups(fit, bits, law):
    groups = torch.cat([normal_groups(0), torch.full((1, 97), 0.25), torch.zeros(1, 97)])
    location, scale = fitted(fit, groups, law(bits))
    assert torch.equal(location, location.half().float()) and (scale >= 0).all()
    assert torch.equal(scale, scale.half().float())
    assert (squared_error(groups, location, scale, law(bits))[5:] == 0).all()


@pytest.mark.parametrize("fit", FITS)
@pytest.mark.parametrize("bits", [0, 2, 8])
def test_groups_of_one_row(fit, bits):
    groups = torch.tensor([[0.3], [-2.0], [0.0]])
    location, scale = fitted(fit, groups, companded(bits))
    error = squared_error(groups, location, scale, companded(bits)).sqrt()
    assert (error <= groups.abs() * 2.0**-11).all()  # float16's rounding


@pytest.mark.parametrize("bits", range(1, 9))
def test_range_puts_the_outermost_levels_at_the_extremes(bits):
    groups = normal_groups(1)
    location, scale = fitted("range", groups, companded(bits))
    levels = companded(bits).levels
    for level, extreme in ((levels[0], groups.amin(1)), (levels[-1], groups.amax(1))):
        torch.testing.assert_close(location + scale * level, extreme, rtol=0, atol=1e-3)


def test_range_of_uniform_levels_is_round_to_nearest():
    """Levels at min + k (max - min) / (2^B - 1)."""
    groups, codebook = normal_groups(2), uniform(3)
    location, scale = fitted("range", groups, codebook)
    low, high = groups.amin(1, keepdim=True), groups.amax(1, keepdim=True)
    step = (high - low) / 7
    wanted = low + step * torch.round((groups - low) / step)
    decoded = decode(encode(groups, location, scale, codebook), location, scale, codebook)
    differ = (decoded - wanted).abs() > 2e-3  # rounding to float16 moves thresholds a little
    assert differ.float().mean() < 0.01


@given(seed=st.integers(0, 999), bits=st.integers(1, 6))
def test_refitted_is_linear_regression(seed, bits):
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(40, generator=generator) * 0.1 + 0.5
    codes = torch.randint(0, 2**bits, (40,), generator=generator)
    codes[:2] = torch.tensor([0, 1])
    level = companded(bits).levels[codes]
    location, scale = refitted(weight, level, torch.zeros(1), torch.ones(1))
    design = torch.stack([torch.ones(40), level], dim=1).double()
    wanted = torch.linalg.lstsq(design, weight.double()[:, None]).solution[:, 0]
    # both are rounded to float16
    torch.testing.assert_close(torch.cat([location, scale]), wanted.float(), rtol=2e-3, atol=1e-4)
    assert torch.equal(location.half().float(), location)


def test_refitted_of_equal_levels_follows_the_mean_and_keeps_the_scale():
    weight, level = normal_groups(0)[0], torch.full((97,), 0.5)
    location, scale = refitted(weight, level, torch.zeros(1), torch.ones(1))
    assert scale == 1
    assert location + 0.5 == pytest.approx(float(weight.mean()), abs=1e-3)


@given(seed=st.integers(0, 999), bits=st.integers(0, 6))
def test_least_squares_never_raises_the_error(seed, bits):
    """Round by round, from the better of search and range."""
    groups, codebook = normal_groups(seed, groups=4, numel=50), companded(bits)
    with pytest.MonkeyPatch.context() as patch:
        errors = []
        for rounds in range(5):
            patch.setattr("radio.theory.scale_fit.LEAST_SQUARES_ROUNDS", rounds)
            line = least_squares(groups, *moments_of(groups), codebook)
            errors.append(squared_error(groups, *line, codebook).sum(1))
    for before, after in itertools.pairwise(errors):
        assert (after <= before * (1 + 1e-5)).all()  # decoded in float32
    for start in ("search", "range"):
        started = squared_error(groups, *fitted(start, groups, codebook), codebook).sum(1)
        assert (errors[0] <= started * (1 + 1e-5)).all()


@pytest.mark.parametrize("bits", range(1, 7))
def test_order_of_the_fits(bits):
    """Least squares before the search before the rest."""
    groups, codebook = normal_groups(3, groups=64, numel=256), companded(bits)
    error = {
        fit: float(squared_error(groups, *fitted(fit, groups, codebook), codebook).mean())
        for fit in FITS
    }
    assert error["least_squares"] < error["search"] < error["moments"]
    assert error["search"] < error["range"]


def test_depth_zero_is_the_mean_under_least_squares_and_the_median_under_moments():
    groups = normal_groups(4) ** 3
    location, _ = fitted("least_squares", groups, companded(0))
    assert torch.equal(location, groups.double().mean(1).half().float())
    assert torch.equal(
        fitted("moments", groups, companded(0))[0], groups.median(1).values.half().float()
    )


def unrounded(location, scale):
    return location, scale


def gain_and_error(groups, decoded) -> tuple[torch.Tensor, torch.Tensor]:
    """<W_q, W> / <W, W> about the means, and the relative squared error."""
    centered = groups - groups.mean(dim=1, keepdim=True)
    variance = centered.square().sum(dim=1)
    gain = (centered * (decoded - decoded.mean(dim=1, keepdim=True))).sum(dim=1) / variance
    return gain, (decoded - groups).square().sum(dim=1) / variance


@pytest.mark.parametrize("bits", range(1, 7))
@pytest.mark.parametrize("correction", [0.5, 1.0])
def test_gain_in_closed_form(bits, correction):
    """From a line of least squares with relative error D: (1 - D)^(1 - correction)."""
    groups, book = normal_groups(bits).double(), companded(bits)
    codes = encode(groups.float(), *fitted("search", groups.float(), book), book)
    level = book.levels[codes].double()
    centered = level - level.mean(dim=1, keepdim=True)
    scale = (groups * centered).sum(dim=1) / centered.square().sum(dim=1)
    location = groups.mean(dim=1) - scale * level.mean(dim=1)
    gain, least = gain_and_error(groups, location[:, None] + scale[:, None] * level)
    torch.testing.assert_close(gain, 1 - least)

    line = with_gain(groups, level, location, scale, correction, unrounded)
    decoded = line[0][:, None] + line[1][:, None] * level
    gain, error = gain_and_error(groups, decoded)
    torch.testing.assert_close(gain, (1 - least) ** (1 - correction))
    torch.testing.assert_close(decoded.mean(dim=1), groups.mean(dim=1))
    if correction == 1.0:
        torch.testing.assert_close(error, least / (1 - least))


@pytest.mark.parametrize("store", STORES.values())
@pytest.mark.parametrize("fit", FITS)
@pytest.mark.parametrize("bits", [0, 1, 3, 8])
def test_gain_of_degenerate_groups(bits, fit, store):
    """Constant groups and depth 0 stay as they are, and lines are those that the store can say."""
    groups = torch.cat([normal_groups(0), torch.full((1, 97), 0.25), torch.zeros(1, 97)])
    book = companded(bits)
    line = fitted(fit, groups, book, store)
    level = book.levels[encode(groups, *line, book)]
    corrected = with_gain(groups, level, *line, 1.0, store)
    for value, again, before in zip(corrected, store(*corrected), line, strict=True):
        assert torch.equal(value, again)
        assert torch.equal(value[5:], before[5:]) and (bits or torch.equal(value, before))
