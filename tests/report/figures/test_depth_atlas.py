"""Colours and bars are means and shares of the depths, over all weights."""

import numpy as np
import pytest
import torch

from radio.calibrate.statistics import LayerStatistics
from radio.report.figures.depth_atlas import depth_atlas
from radio.runtime.errors import RadioError
from tests.report.figures.conftest import assert_equal_bytes, assert_half_a_page_without_overlaps

SHAPES = {"self_attn.q_proj": (12, 8, 1), "fc1": (20, 8, 3), "fc2": (8, 20, 1)}
BLOCKS = 4


@pytest.fixture
def layers():
    """Return depths and statistics of a model with clusters of unequal size."""
    generator = torch.Generator().manual_seed(0)
    depths, statistics = {}, {}
    for block in range(BLOCKS):
        for name, (rows, cols, clusters) in SHAPES.items():
            layer = f"model.decoder.layers.{block}.{name}"
            shape = (clusters, cols)
            depths[layer] = torch.randint(0, 9, shape, generator=generator, dtype=torch.uint8)
            ones = torch.ones(shape)
            cluster = torch.arange(rows) % clusters
            statistics[layer] = LayerStatistics(cluster, ones, ones, torch.zeros(cols))
    return depths, statistics


def test_cells_are_mean_depths_and_bars_are_shares(layers):
    depths, statistics = layers
    figure = depth_atlas(*layers)
    above, below = figure.axes[:2]
    bits = above.images[0].get_array()
    assert bits.shape == (1 + 3 + 1, BLOCKS)
    per_weight = {name: depths[name][statistics[name].cluster].double() for name in depths}
    for block in range(BLOCKS):
        fc1 = f"model.decoder.layers.{block}.fc1"
        for cluster in range(3):
            mean = per_weight[fc1][statistics[fc1].cluster == cluster].mean()
            assert bits[1 + cluster, block] == pytest.approx(float(mean))
    names = [label.get_text().split()[0] for label in above.get_yticklabels()]
    assert names == ["q_proj", "fc1", "fc1", "fc1", "fc2"]
    of_q = torch.cat([bits.flatten() for name, bits in per_weight.items() if "q_proj" in name])
    assert above.get_yticklabels()[0].get_text() == f"q_proj  {float(of_q.mean()):.2f}"
    everything = torch.cat([bits.flatten() for bits in per_weight.values()])
    shares = np.bincount(everything.int().numpy(), minlength=9) / len(everything)
    assert [bar.get_height() for bar in below.patches] == pytest.approx(list(100 * shares))


def test_colours_are_centred_on_the_mean_of_all_weights(layers):
    depths, statistics = layers
    image = depth_atlas(*layers).axes[0].images[0]
    weights = torch.cat([depths[name][statistics[name].cluster].flatten() for name in depths])
    assert sum(image.get_clim()) / 2 == pytest.approx(float(weights.double().mean()))


def test_fits_half_a_page_and_equal_data_give_equal_bytes(layers, tmp_path):
    assert_half_a_page_without_overlaps(depth_atlas(*layers))
    assert_equal_bytes(lambda: depth_atlas(*layers), tmp_path)


def test_equal_depths_still_have_a_colour_scale(layers):
    depths, statistics = layers
    same = {name: torch.full_like(bits, 3) for name, bits in depths.items()}
    low, high = depth_atlas(same, statistics).axes[0].images[0].get_clim()
    assert low < 3 < high


def test_layers_of_another_model_are_refused(layers):
    depths, statistics = layers
    with pytest.raises(RadioError, match="different layers"):
        depth_atlas(dict(list(depths.items())[1:]), statistics)
