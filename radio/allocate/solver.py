"""The allocation configured by a method's YAML."""

from collections.abc import Callable
from functools import partial

from omegaconf import DictConfig

from radio.allocate.depths import Depths, load_distortion
from radio.allocate.layers import allocate_layers
from radio.calibrate.statistics import load_statistics
from radio.runtime.artifacts import required_artifact
from radio.runtime.errors import RadioError
from radio.theory.allocation import Allocation


def solver(cfg: DictConfig) -> Callable[[float], tuple[Depths, Allocation]]:
    """Return a function from mean rate to depths, by the method's solver and the given statistics.

    Raises:
        RadioError: the method has no solver, or an artifact is missing.
    """
    if cfg.method.get("solver") is None:
        raise RadioError(f"method={cfg.method.name} allocates no depths: set method=radio")
    statistics = load_statistics(required_artifact(cfg, "statistics"))
    distortion = (
        load_distortion(required_artifact(cfg, "distortion"))
        if cfg.method.get("use_measured_distortion")
        else None
    )
    return partial(allocate_layers, statistics, solver=cfg.method.solver, distortion=distortion)
