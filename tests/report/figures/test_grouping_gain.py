"""Bars and curves are the gains of the statistics; finer splits gain more."""

import matplotlib.patches
import pytest
import torch

from radio.calibrate.statistics import LayerStatistics
from radio.report.figures.grouping_gain import gain, grouping_gain
from radio.runtime.errors import RadioError
from tests.report.figures.conftest import (
    assert_equal_bytes,
    assert_half_a_page_without_overlaps,
    texts,
)

MATRICES = {
    "self_attn.q_proj": (96, 40, 1),
    "self_attn.k_proj": (96, 40, 1),
    "self_attn.v_proj": (96, 40, 1),
    "self_attn.out_proj": (96, 40, 1),
    "fc1": (160, 40, 3),
    "fc2": (40, 160, 1),
}
LAYER = "model.decoder.layers.1.fc1"
# what the floor of 2^(-16) of the mean changes at the sensitivities here
FLOOR_BITS = 1e-3


def layer(rows, cols, clusters, seed=0):
    """Return statistics over a few decades, with clusters of unequal size."""
    generator = torch.Generator().manual_seed(seed)
    grad, var = torch.exp(torch.randn(2, clusters, cols, generator=generator))
    return LayerStatistics(torch.arange(rows) % clusters, grad, var, torch.zeros(cols))


@pytest.fixture
def statistics():
    return {
        f"model.decoder.layers.{block}.{name}": layer(*shape, seed=10 * block + index)
        for block in range(3)
        for index, (name, shape) in enumerate(MATRICES.items())
    }


def per_weight(entry):
    """Return s of every weight [rows, cols]."""
    return (entry.grad_var * entry.weight_var)[entry.cluster].double()


def am_gm_bits(s):
    return float(0.5 * (s.mean().log2() - s.log2().mean()))


def test_gains_are_ratios_of_means_over_the_weights():
    """Compare with a computation per weight, without groups and their sizes."""
    entry = layer(*MATRICES["fc1"])
    actual, s = gain("fc1", entry), per_weight(entry)
    assert actual.both == pytest.approx(am_gm_bits(s), abs=FLOOR_BITS)
    assert actual.columns == pytest.approx(am_gm_bits(s.mean(dim=0)), abs=FLOOR_BITS)
    rows = torch.stack([s[entry.cluster == c].mean() for c in entry.cluster])
    assert actual.rows == pytest.approx(am_gm_bits(rows), abs=FLOOR_BITS)
    assert actual.both > max(actual.columns, actual.rows)


def test_one_cluster_adds_nothing():
    actual = gain("q_proj", layer(*MATRICES["self_attn.q_proj"]))
    assert actual.rows == pytest.approx(0, abs=1e-12)
    assert actual.both == pytest.approx(actual.columns, abs=1e-12)


def test_bars_are_the_gains(statistics):
    *panels, _ = grouping_gain(statistics, LAYER).axes
    assert len(panels) == len(MATRICES)
    for axes, name in zip(panels, MATRICES, strict=True):
        columns, rows = axes.containers
        for block, (low, high) in enumerate(zip(columns, rows, strict=True)):
            layer_name = f"model.decoder.layers.{block}.{name}"
            expected = gain(layer_name, statistics[layer_name])
            assert low.get_x() + low.get_width() / 2 == pytest.approx(block)
            assert low.get_height() == pytest.approx(expected.columns)
            assert high.get_y() == pytest.approx(expected.columns)
            assert high.get_y() + high.get_height() == pytest.approx(expected.both)
            assert expected.both < axes.get_ylim()[1]
        mean = sum(high.get_y() + high.get_height() for high in rows) / 3
        assert texts(axes) == [f"{name.split('.')[-1]}\nmean {mean:.2f}"]


def test_sorted_savings_are_single_columns_about_their_mean(statistics):
    *_, last = grouping_gain(statistics, LAYER).axes
    columns, rows = [p for p in last.patches if isinstance(p, matplotlib.patches.StepPatch)]
    entry = statistics[LAYER]
    s = per_weight(entry).mean(dim=0)
    savings = (0.5 * (s.mean() / s).log2()).sort(descending=True).values
    assert columns.get_data().values == pytest.approx(savings.numpy(), abs=FLOOR_BITS)
    assert columns.get_data().edges == pytest.approx(torch.linspace(0, 100, 41).numpy())
    # 160 rows in three clusters: 54, 53 and 53
    assert sorted(torch.tensor(rows.get_data().edges).diff().mul(1.6).round().tolist()) == [
        53,
        53,
        54,
    ]
    actual = gain(LAYER, entry)
    assert [line.get_ydata()[0] for line in last.lines] == pytest.approx(
        [actual.columns, actual.rows]
    )
    assert texts(last) == [
        f"columns,\nmean {actual.columns:.2f}",
        f"row clusters,\nmean {actual.rows:.2f}",
    ]
    assert last.get_title(loc="left") == "fc1 of block 1"


def test_rows_are_shown_and_named_only_where_they_are_split(statistics):
    without = {name: entry for name, entry in statistics.items() if len(entry.grad_var) == 1}
    first, *_, last = grouping_gain(without, "model.decoder.layers.0.fc2").axes
    assert first.get_title(loc="left") == "Split into columns"
    assert first.get_title(loc="right") == ""
    assert len(last.lines) == 1
    first, *_ = grouping_gain(statistics, LAYER).axes
    assert first.get_title(loc="right") == "and row clusters"


def test_llama_names_and_dead_columns():
    entry = layer(96, 40, 2)
    entry.grad_var[:, 0] = 0
    names = [f"model.layers.{block}.mlp.gate_proj" for block in (0, 1)]
    only, last = grouping_gain(dict.fromkeys(names, entry), names[1]).axes
    assert texts(only)[0].startswith("gate_proj")
    columns, _ = [p for p in last.patches if isinstance(p, matplotlib.patches.StepPatch)]
    assert columns.get_data().values[0] == pytest.approx(8, abs=1e-4)


def test_it_is_legible(statistics):
    assert_half_a_page_without_overlaps(grouping_gain(statistics, LAYER))


def test_equal_statistics_give_equal_bytes(statistics, tmp_path):
    assert_equal_bytes(lambda: grouping_gain(statistics, LAYER), tmp_path)


def test_unknown_layers_and_zero_statistics_are_refused(statistics):
    with pytest.raises(RadioError, match="layer=fc9 has no statistics"):
        grouping_gain(statistics, "fc9")
    with pytest.raises(RadioError, match="the layer lm_head has no block number"):
        grouping_gain({"lm_head": layer(4, 4, 1)}, "lm_head")
    statistics[LAYER].grad_var.zero_()
    with pytest.raises(RadioError, match=r"invalid statistics of .*layers.1.fc1 .*zero everywhere"):
        grouping_gain(statistics, LAYER)
