"""Radio's quantizer: unbiased outputs, gain of the search, extreme depths, degenerate groups."""

import math
from dataclasses import replace

import pytest
import torch
from hydra.utils import instantiate

from radio.calibrate.statistics import LayerStatistics
from radio.quantize.input_stats import InputStats
from radio.quantize.methods.base import LinearLayer
from radio.quantize.methods.radio import Radio
from radio.runtime.compose import compose_step
from radio.runtime.errors import RadioError
from radio.theory.codebook import lloyd_max
from radio.theory.grouping import cluster_mean
from radio.theory.scale_fit import FITS


def compose_method(name: str) -> Radio:
    """The quantizer of config/method/NAME.yaml."""
    return instantiate(compose_step("quantize", [f"method={name}"]).method.quantizer)


# Lloyd-Max levels of a Gaussian, as a codebook of all depths
LEARNED = (
    torch.zeros(1),
    *(
        lloyd_max(math.sqrt(2) * torch.erfinv(torch.linspace(-1, 1, 20_002)[1:-1]), bits).levels
        for bits in range(1, 9)
    ),
)


def layer(rows: int = 96, cols: int = 24, clusters: int = 2, depth: int | None = None, bias=None):
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(rows, cols, generator=generator) * 0.05
    depths = torch.randint(0, 9, (clusters, cols), generator=generator)
    if depth is not None:
        depths = torch.full_like(depths, depth)
    statistics = LayerStatistics(
        cluster=torch.arange(rows) % clusters,
        grad_var=torch.rand(clusters, cols),
        weight_var=torch.rand(clusters, cols),
        input_mean=torch.randn(cols, generator=generator),
    )
    return LinearLayer("w", weight, bias, statistics, depths.to(torch.uint8), codebooks=LEARNED)


@pytest.mark.parametrize("bias", [None, torch.linspace(-1, 1, 96)])
def test_bias_correction_makes_the_mean_output_exact(bias):
    """E[y_q] = E[y]; the sign printed in the paper would double the error instead."""
    given = layer(bias=bias)
    quantized = Radio().quantize(given, 3.0)
    mean = given.statistics.input_mean
    wanted = given.weight @ mean + (0 if bias is None else bias)
    got = quantized.weight.decode() @ mean + quantized.bias.float()
    torch.testing.assert_close(got, wanted, rtol=1e-3, atol=1e-3)
    error = (quantized.weight.decode() - given.weight) @ mean
    assert error.abs().max() > 0.02  # there was something to correct
    assert quantized.bias_added == (bias is None)


def test_without_bias_correction_nothing_is_added():
    assert Radio(correct_bias=False).quantize(layer(), 3.0).bias is None


def error_of(method: Radio, given: LinearLayer) -> float:
    decoded = method.quantize(given, 3.0).weight.decode()
    return float((decoded - given.weight).square().mean())


@pytest.mark.parametrize("levels", ["companded", "uniform", "learned"])
@pytest.mark.parametrize("depth", range(0, 7))
def test_better_fits_lower_the_error(depth, levels):
    given = layer(depth=depth)
    error = {fit: error_of(Radio(levels, fit), given) for fit in FITS}
    assert error["least_squares"] <= error["search"] < error["moments"]
    assert error["least_squares"] <= error["range"]


@pytest.mark.parametrize("levels", ["companded", "uniform", "learned"])
@pytest.mark.parametrize("fit", ["moments", "search", "least_squares"])
@pytest.mark.parametrize("gain_correction", [0.0, 1.0])
def test_distortion_is_the_error_of_quantizing_at_that_depth(levels, fit, gain_correction):
    given, method = layer(), Radio(levels, fit, gain_correction=gain_correction)
    measured = method.distortion(given)
    for depth in range(6):
        decoded = method.quantize(at(given, depth), 3.0).weight.decode()
        squares = (decoded - given.weight).square()
        wanted = cluster_mean(squares, given.statistics.cluster, 2)
        torch.testing.assert_close(measured[..., depth], wanted, rtol=1e-4, atol=1e-12)


def test_distortion_beyond_what_is_measured_is_close_to_the_truth():
    """Gaussian weights: companded and learned levels lose a factor 4 a bit from 5 bits on."""
    given = layer(rows=1024, cols=16, clusters=1)
    for levels in ("companded", "learned"):
        continued = Radio(levels, "least_squares").distortion(given).mean(dim=(0, 1))
        for depth in (6, 7, 8):
            truth = error_of(Radio(levels, "least_squares"), at(given, depth))
            assert float(continued[depth]) == pytest.approx(truth, rel=0.06)


@pytest.mark.parametrize("levels_at_once", [2**8, 2**18])
def test_codes_do_not_depend_on_how_many_groups_are_fitted_at_once(levels_at_once, monkeypatch):
    given = layer(rows=96, cols=1200)
    wanted = Radio().quantize(given, 3.0).weight
    monkeypatch.setattr("radio.quantize.methods.radio.LEVELS_AT_ONCE", levels_at_once)
    got = Radio().quantize(given, 3.0).weight
    for name in ("codes", "location", "scale"):
        assert torch.equal(getattr(got, name), getattr(wanted, name))


def at(given: LinearLayer, depth: int) -> LinearLayer:
    return replace(given, depths=torch.full_like(given.depths, depth))


def test_learned_levels_must_be_given():
    with pytest.raises(RadioError, match=r"artifacts\.codebook"):
        Radio("learned").quantize(replace(layer(), codebooks=None), 3.0)


@pytest.mark.parametrize("depth", [1, 2, 3, 5])
def test_a_full_gain_correction_makes_every_group_unbiased(depth):
    """Codes stay, and <W_q, W> = <W, W> about the means, to float16's rounding of the line."""
    given = layer(depth=depth)
    methods = [
        Radio("companded-nearest", "least_squares", gain_correction=share) for share in (0.0, 1.0)
    ]
    plain, corrected = (method.quantize(given, 3.0).weight for method in methods)
    assert torch.equal(plain.codes, corrected.codes)
    for coded, gains in ((plain, (0.5, 0.999)), (corrected, (0.998, 1.002))):
        for c in range(2):
            rows = given.statistics.cluster == c
            centered = given.weight[rows] - given.weight[rows].mean(dim=0)
            gain = (coded.decode()[rows] * centered).sum(dim=0) / centered.square().sum(dim=0)
            assert (gain >= gains[0]).all() and (gain <= gains[1]).all()


def test_the_papers_method_corrects_no_gain():
    """Nor does radio-plus, whose error feedback refits the lines."""
    for name in ("radio-paper", "radio-plus", "radio-learned"):
        assert compose_method(name).gain_correction == 0
    assert compose_method("radio-paper").scale_fit == "search"


@pytest.mark.parametrize(
    "settings, words",
    [
        ({"gain_correction": 1.5}, r"gain_correction=1\.5 is not accepted"),
        ({"gain_correction": float("nan")}, "gain_correction=nan is not accepted"),
        (
            {"gain_correction": 0.5, "error_compensation": True},
            r"set method\.quantizer\.gain_correction=0",
        ),
    ],
)
def test_gain_corrections_that_are_refused(settings, words):
    with pytest.raises(RadioError, match=words):
        Radio(**settings)


@pytest.mark.parametrize("words", [{"levels": "compandid"}, {"scale_fit": "least-squares"}])
def test_unknown_words(words):
    with pytest.raises(RadioError, match="is not accepted: set one of"):
        Radio(**words)


def test_error_falls_sixfold_with_every_two_bits():
    """The law d ~ 4^-B, roughly, from 2 bits on."""
    errors = []
    for depth in (2, 4, 6):
        given = layer(rows=512, clusters=1, depth=depth)
        decoded = Radio().quantize(given, 3.0).weight.decode()
        errors.append((decoded - given.weight).square().mean())
    assert 6 < errors[0] / errors[1] < 20 and 6 < errors[1] / errors[2] < 20


def test_depth_zero_gives_the_location_and_no_codes():
    given = layer(depth=0)
    quantized = Radio().quantize(given, 0.5)
    decoded = quantized.weight.decode()
    for c in range(2):
        rows = decoded[given.statistics.cluster == c]
        assert (rows == rows[:1]).all()
    assert quantized.weight.code_bits() == 0


def test_clusters_are_quantized_separately():
    """Rows of a small cluster keep their precision beside rows a thousand times larger."""
    given = layer(depth=6)
    given.weight[given.statistics.cluster == 1] *= 1000
    decoded = Radio().quantize(given, 6.0).weight.decode()
    small = given.statistics.cluster == 0
    relative = (decoded - given.weight)[small].norm() / given.weight[small].norm()
    assert relative < 0.05


def test_dead_and_constant_columns():
    given = layer(depth=3)
    given.weight[:, 3], given.weight[:, 4] = 0.0, 0.125
    decoded = Radio().quantize(given, 3.0).weight.decode()
    assert torch.equal(decoded[:, 3:5], given.weight[:, 3:5])


def test_single_row():
    given = layer(rows=1, clusters=1, depth=2)
    torch.testing.assert_close(
        Radio().quantize(given, 2.0).weight.decode(), given.weight, rtol=1e-3, atol=1e-4
    )


@pytest.mark.parametrize("rate", [0.0, -3.0, 8.5, float("nan")])
def test_refuses_rates_out_of_range(rate):
    with pytest.raises(RadioError, match="rate_bits"):
        Radio().check_rate(rate)


def correlated_inputs(cols: int = 24) -> InputStats:
    generator = torch.Generator().manual_seed(5)
    x = torch.randn(400, cols // 3, generator=generator) @ torch.randn(
        cols // 3, cols, generator=generator
    ) + torch.randn(cols, generator=generator)
    return InputStats(x.mean(0), x.T @ x / len(x), len(x), x.abs().mean(0))


@pytest.mark.parametrize("levels", ["companded", "learned"])
def test_feedback_lowers_the_error_of_the_centred_output(levels):
    """tr(dW C dW^T), C the covariance: what is left of the output error once biases are right."""
    inputs = correlated_inputs()
    given = replace(layer(depth=3), inputs=inputs)
    error = {}
    for error_compensation in (False, True):
        quantized = Radio(levels, "least_squares", error_compensation=error_compensation).quantize(
            given, 3.0
        )
        change = quantized.weight.decode() - given.weight
        error[error_compensation] = float(
            torch.einsum("ri,ij,rj->", change, inputs.covariance, change)
        )
        # the bias is right for the inputs that the layer will see
        shift = -change @ inputs.mean
        torch.testing.assert_close(quantized.bias.float(), shift, rtol=1e-3, atol=1e-3)
    assert error[True] < 0.5 * error[False]


def test_feedback_keeps_depths_and_codes_within_them():
    given = replace(layer(), inputs=correlated_inputs())
    coded = Radio("learned", "least_squares", error_compensation=True).quantize(given, 3.0).weight
    assert torch.equal(coded.depths, given.depths)
    by_row = given.depths[given.statistics.cluster].long()
    assert (coded.codes.long() < 2**by_row).all()


def test_feedback_without_inputs_is_refused():
    with pytest.raises(RadioError, match="error_compensation=true needs the moments of inputs"):
        Radio(error_compensation=True).quantize(layer(), 3.0)


@pytest.mark.parametrize("depth", [2, 3, 4])
def test_the_nearest_level_beats_that_of_the_cell(depth):
    """The same levels, so the same decoder; about a tenth of the error at 2 and 3 bits."""
    given = layer(rows=512, clusters=1, depth=depth)
    error = {
        levels: (Radio(levels).quantize(given, 3.0).weight.decode() - given.weight).square().mean()
        for levels in ("companded", "companded-nearest")
    }
    assert error["companded-nearest"] < 0.99 * error["companded"]


def test_the_paper_centres_on_means_and_prunes_to_zero():
    given = layer(depth=0)
    decoded = Radio(scale_fit="moments", center_on="mean").quantize(given, 0.5).weight.decode()
    assert (decoded == 0).all()
    coded = Radio(scale_fit="moments", center_on="mean").quantize(layer(depth=3), 3.0).weight
    for c in range(2):
        group = given.weight[given.statistics.cluster == c]
        torch.testing.assert_close(coded.location[c].float(), group.mean(0), rtol=1e-2, atol=1e-4)


@pytest.mark.parametrize("levels, bias", [("companded", True), ("learned", False)])
def test_bare_is_what_is_stored_at_depth_zero(levels, bias):
    given = layer(depth=0, bias=torch.zeros(96) if bias else None)
    bare = Radio(levels).empty_layer(96, given.statistics, LEARNED, has_bias=bias)
    quantized = Radio(levels).quantize(given, 0.5)
    assert bare.stored_bytes() == quantized.stored_bytes()
    assert bare.weight.code_bits() == 0 and bare.bias_added == quantized.bias_added
