"""Learned codebooks beat the companding law on densities known and unknown to it."""

import pytest
import torch

from radio.theory.codebook import Codebook, companded, decode, encode
from radio.theory.codebook_learning import learn_codebooks, learn_levels
from radio.theory.scale_fit import least_squares

GAUSSIAN_3_BITS = 0.03454  # Max, 1960


def groups_of(density: str, count: int, seed: int, numel: int = 256) -> torch.Tensor:
    """Groups of many locations and scales."""
    generator = torch.Generator().manual_seed(seed)
    draw = torch.randn(count, numel, generator=generator)
    if density == "laplace":
        flip = torch.rand(count, numel, generator=generator)
        draw = (0.5 - flip).sign() * torch.rand(count, numel, generator=generator).log()
    scale = torch.exp(0.5 * torch.randn(count, 1, generator=generator))
    return 0.05 * scale * draw + 0.01 * torch.randn(count, 1, generator=generator)


def error_of(groups, codebook: Codebook) -> float:
    location = groups.median(dim=1).values
    scale = (groups - location[:, None]).square().mean(dim=1).sqrt()
    line = least_squares(groups, location, scale, codebook)
    decoded = decode(encode(groups, *line, codebook), *line, codebook)
    return float((decoded - groups).square().mean())


@pytest.mark.parametrize("density", ["gaussian", "laplace"])
@pytest.mark.parametrize("bits", [2, 3, 4])
def test_beats_the_companding_law(density, bits):
    """On groups that it was not learned from, of two sizes."""
    learned = learn_levels(
        [groups_of(density, 200, 0), groups_of(density, 100, 1, numel=192)], bits
    )
    fresh = groups_of(density, 200, 2)
    assert error_of(fresh, learned) < 0.97 * error_of(fresh, companded(bits))


def test_pure_gaussian_groups_teach_the_levels_of_lloyd_and_max():
    levels = learn_levels([groups_of("gaussian", 400, 0)], 3).levels
    one = torch.randn(1, 200_000, generator=torch.Generator().manual_seed(1))
    one = (one - one.mean()) / one.std(correction=0)
    assert error_of(one, Codebook(levels, (levels[1:] + levels[:-1]) / 2)) == pytest.approx(
        GAUSSIAN_3_BITS, rel=0.02
    )


def test_all_depths_rise_and_are_float16_despite_constant_groups():
    weight = torch.cat([groups_of("laplace", 20, 0), torch.full((3, 256), 0.5)])
    learned = learn_codebooks([weight])
    assert [len(levels) for levels in learned] == [2**bits for bits in range(9)]
    for levels in learned:
        assert torch.equal(levels, levels.half().float()) and (levels.diff() >= 0).all()


def test_refuses_groups_that_teach_nothing():
    with pytest.raises(ValueError, match="weights that differ"):
        learn_codebooks([torch.full((3, 8), 0.5)])


def test_groups_count_by_their_squared_scale():
    """Levels are learned for the error of the weights, to which small groups add nothing."""
    gaussian, laplace = groups_of("gaussian", 100, 0), groups_of("laplace", 100, 1)
    mixed = learn_levels([gaussian / 30, laplace], 3)
    alone = learn_levels([laplace], 3)
    torch.testing.assert_close(mixed.levels, alone.levels, rtol=0.01, atol=0.01)
