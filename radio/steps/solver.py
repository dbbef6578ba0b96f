"""The allocation that a method's YAML asks for."""

from collections.abc import Callable
from functools import partial

from omegaconf import DictConfig

from radio.allocate import allocate_layers
from radio.depths import Depths, load_distortion
from radio.statistics import load_statistics
from radio.steps.inputs import needed
from radio.theory.allocation import Allocation


def solver(cfg: DictConfig) -> Callable[[float], tuple[Depths, Allocation]]:
    """Depths at any mean rate, by the method's solver, from the statistics that are given."""
    statistics = load_statistics(needed(cfg, "statistics"))
    distortion = load_distortion(needed(cfg, "distortion")) if cfg.method.get("measured") else None
    return partial(allocate_layers, statistics, solver=cfg.method.solver, distortion=distortion)
