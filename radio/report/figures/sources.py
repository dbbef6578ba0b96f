"""Figures from artifacts: each function is the target of a figure's YAML and reads its inputs."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from matplotlib.figure import Figure

from radio.allocate.depths import load_depths
from radio.calibrate.statistics import load_statistics
from radio.report.figures.depth_atlas import depth_atlas
from radio.report.figures.grouping_gain import grouping_gain
from radio.report.figures.iterations import Trace, iterations
from radio.report.figures.layers import block_and_matrix
from radio.report.figures.optimal_depths import optimal_depths
from radio.report.figures.rate_distortion import rate_distortion
from radio.report.figures.scaling import scaling
from radio.report.figures.style import COLOURS
from radio.report.labels import cell_labels, labels
from radio.report.scaling import load_scaling_table
from radio.report.table import load_table
from radio.runtime.errors import RadioError
from radio.runtime.manifest import read_manifest


def of_table(table: Sequence[str]) -> Figure:
    """Return loss against true bits, from an experiment's table."""
    (path,) = map(Path, table)
    rows = load_table(path)
    return rate_distortion(
        rows,
        method_labels=cell_labels(path.stem, rows.method),
        model_labels=labels("model", rows.model),
        text_labels=labels("data", rows.text),
    )


def of_sizes(table: Sequence[str], device: str) -> Figure:
    """Return time and memory against size, from an experiment's table."""
    (path,) = map(Path, table)
    return scaling(load_scaling_table(path), device)


def of_sensitivities(
    calibrate: Sequence[str], allocate: Sequence[str], layers: Sequence[str]
) -> Figure:
    """Return the optimal depths of whole matrices, at the price of an allocation."""
    statistics = load_statistics(Path(calibrate[0]))
    if unknown := [layer for layer in layers if layer not in statistics]:
        raise RadioError(f"layers: {calibrate[0]} has no layer {unknown[0]}")
    means = [
        float((statistics[layer].grad_var * statistics[layer].weight_var).mean())
        for layer in layers
    ]
    price = read_manifest(Path(allocate[0]))["measured"]["log2_price"]
    return optimal_depths([_short(layer) for layer in layers], means, price)


def of_statistics(calibrate: Sequence[str], layer: str) -> Figure:
    """Return the bits that grouping saves, from the statistics of a calibration."""
    return grouping_gain(load_statistics(Path(calibrate[0])), layer)


def of_depths(calibrate: Sequence[str], allocate: Sequence[str]) -> Figure:
    """Return the atlas of depths, from an allocation and its statistics."""
    return depth_atlas(load_depths(Path(allocate[0])), load_statistics(Path(calibrate[0])))


def of_refinements(
    refine: Sequence[str], quantity: Literal["perplexity", "kl"], names: Sequence[str]
) -> Figure:
    """Return validation loss over the iterations of refinements with the labels `names`."""
    if len(names) != len(refine):
        raise RadioError(
            f"figure.draw.names={list(names)} must have one name for each of {list(refine)}"
        )
    traces = []
    for name, colour, path in zip(names, COLOURS, map(Path, refine), strict=False):
        measured = read_manifest(path)["measured"]
        reference = measured["perplexity_fp16"] if quantity == "perplexity" else None
        traces.append(Trace(name, colour, measured["trace"], reference))
    return iterations(traces, quantity)


def _short(layer: str) -> str:
    """Return block and matrix of a layer's full name.

    >>> _short("model.layers.3.self_attn.q_proj")
    'block 3, q_proj'
    """
    block, matrix = block_and_matrix(layer)
    return f"block {block}, {matrix}"
