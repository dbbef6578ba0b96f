"""Depths of all groups from calibration statistics and a rate, without the model."""

import math
from collections.abc import Mapping

import torch
from jaxtyping import Float, Int
from torch import Tensor

from radio.allocate.depths import Depths, Distortion
from radio.calibrate.statistics import LayerStatistics
from radio.runtime.errors import RadioError
from radio.theory.allocation import MAX_BITS, Allocation, allocate_bits
from radio.theory.grouping import cluster_sizes
from radio.theory.integer_allocation import allocate_integer, model_distortion

SOLVERS = ("ascent", "exact", "uniform")


def allocate_layers(
    statistics: Mapping[str, LayerStatistics],
    rate_bits: float,
    solver: str,
    distortion: Distortion | None = None,
) -> tuple[Depths, Allocation]:
    """Return depths [clusters, cols] by layer, and the allocation, at one mean rate.

    Args:
        statistics: calibration statistics by layer.
        rate_bits: R, 0 < R <= 8.
        solver: "ascent", dual ascent on the high-resolution model (paper); "exact", integer depths
            at no more than the rate; "uniform", the same depth for all groups.
        distortion: for "exact", mean squared weight errors to use in place of S_n^2 4^-B.

    Raises:
        RadioError: the solver is unknown or cannot reach `rate_bits`, or `distortion` belongs to
            another model or is not read by the solver.
    """
    _check(statistics, rate_bits, solver, distortion)
    shapes = {name: entry.grad_var.shape for name, entry in statistics.items()}
    numel = [_numel(entry).flatten() for entry in statistics.values()]
    if solver == "uniform":
        depths = torch.full((sum(map(len, numel)),), int(rate_bits))
        allocation = Allocation(depths, rate_bits, math.nan)
    elif solver == "ascent":
        sensitivity = torch.cat([_sensitivity(entry) for entry in statistics.values()])
        allocation = allocate_bits(sensitivity, torch.cat(numel), rate_bits)
    else:
        layers = list(statistics.items())

        def table_of(index: int) -> Float[Tensor, "groups 9"]:
            name, entry = layers[index]
            if distortion is None:
                return model_distortion(_sensitivity(entry))
            return (entry.grad_var[..., None] * distortion[name]).flatten(0, 1)

        allocation = allocate_integer(table_of, numel, rate_bits)
    parts = allocation.depths.split([shape.numel() for shape in shapes.values()])
    by_layer = {
        name: part.view(shape).to(torch.uint8)
        for (name, shape), part in zip(shapes.items(), parts, strict=True)
    }
    return by_layer, allocation


def _sensitivity(entry: LayerStatistics) -> Float[Tensor, " groups"]:
    """Return G_n^2 S_n^2 of each group."""
    return (entry.grad_var * entry.weight_var).flatten()


def _check(
    statistics: Mapping[str, LayerStatistics],
    rate_bits: float,
    solver: str,
    distortion: Distortion | None,
) -> None:
    """Raise a `RadioError` for invalid arguments of `allocate_layers`."""
    if solver not in SOLVERS:
        raise RadioError(f"method.solver={solver} is unknown: set one of {', '.join(SOLVERS)}")
    if not 0 < rate_bits <= MAX_BITS:
        raise RadioError(
            f"rate_bits={rate_bits} is not a rate: "
            f"set a number above 0 and at most {MAX_BITS} bits per weight"
        )
    if solver == "uniform" and rate_bits != int(rate_bits):
        raise RadioError(
            f"rate_bits={rate_bits} does not suit method.solver=uniform, whose depth is the same "
            f"everywhere: set an integer from 1 to {MAX_BITS}"
        )
    if distortion is None:
        return
    if solver != "exact":
        raise RadioError(
            f"artifacts.distortion is not read by method.solver={solver}: "
            "set method.solver=exact, or leave it out"
        )
    shapes = {name: entry.grad_var.shape for name, entry in statistics.items()}
    if {name: table.shape[:2] for name, table in distortion.items()} != shapes:
        raise RadioError(
            "artifacts.distortion belongs to a model with other layers or groups: "
            "make it with these statistics"
        )


def share_at_depth_zero(statistics: Mapping[str, LayerStatistics], depths: Depths) -> float:
    """Return the fraction of weights at depth 0, which decode to their group's location."""
    numel = {name: _numel(entry) for name, entry in statistics.items()}
    none = sum(int(numel[name][depth == 0].sum()) for name, depth in depths.items())
    return none / sum(int(part.sum()) for part in numel.values())


def _numel(entry: LayerStatistics) -> Int[Tensor, "clusters cols"]:
    """Return the number of weights in each group."""
    sizes = cluster_sizes(entry.cluster, len(entry.grad_var))
    return sizes[:, None].expand_as(entry.grad_var)
