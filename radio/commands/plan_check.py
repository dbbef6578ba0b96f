"""Compare plans with measurements."""

from collections.abc import Iterator
from pathlib import Path

import pandas as pd
from omegaconf import DictConfig

from radio.models.spec import ModelSpec
from radio.rate import rate_text
from radio.report.scaling import OURS, load_scaling_table
from radio.resources.job_estimate import size_of
from radio.resources.planned_shape import geometry_of
from radio.runtime.errors import RadioError
from radio.workflow import JobGraph, job

# stages with planned memory, and stages with planned time
MEMORY, TIME = ("calibrate", "allocate", "quantize"), ("calibrate", "quantize")
WITHIN = 0.25


def check(path: Path, device: DictConfig) -> None:
    """Print measured and planned costs of each stage in a table of times and memory, and ratios.

    Args:
        path: path of a table of `radio.report.scaling`.
        device: the device on which the table was measured; its speeds give planned times.

    Raises:
        RadioError: the table is missing or invalid, or has no measurement with a plan.
    """
    found = list(ratios(path, device))
    if not found:
        raise RadioError(f"check={path} has no measured stage that is planned: run its experiment")
    print(f"{'model':20}{'stage':12}{'what':10}{'measured':>10}{'planned':>10}{'ratio':>8}")
    for model, stage, what, measured, planned in found:
        unit = 1e9 if what == "memory" else 1.0
        print(
            f"{model:20}{stage:12}{what:10}"
            f"{measured / unit:10.3g}{planned / unit:10.3g}{planned / measured:8.2f}"
        )
    off = [row for row in found if abs(row[4] / row[3] - 1) > WITHIN]
    print(f"{len(off)} of {len(found)} are off by more than {WITHIN:.0%}; GB, s; {device.label}")


def ratios(path: Path, device: DictConfig) -> Iterator[tuple[str, str, str, float, float]]:
    """Yield model, stage, "memory" or "time", and the measured and planned bytes or seconds."""
    try:
        table = load_scaling_table(path)
    except (OSError, KeyError, ValueError) as error:
        raise RadioError(
            f"check={path} is no table of times and memory ({error}): give "
            "results/table_scaling.csv or one like it"
        ) from error
    plan = JobGraph()
    for row in table[(table.source == OURS) & table.stage.isin(MEMORY)].to_dict("records"):
        if pd.isna(row["model"]):
            continue
        names = {"model": row["model"], "method": row["method"]}
        target = job("quantize", {**names, "rate": rate_text(row["rate_bits"])})
        jobs = {each.step: each for each in (target, *plan.upstream(target))}
        spec = ModelSpec.from_config(plan.compose("prepare", model=row["model"]).model)
        size = size_of(plan, jobs[row["stage"]], spec, geometry_of(spec), device)
        if not pd.isna(row["peak_memory_bytes"]):
            yield row["model"], row["stage"], "memory", row["peak_memory_bytes"], size.memory_bytes
        if row["stage"] in TIME and not pd.isna(row["wall_s"]):
            yield row["model"], row["stage"], "time", row["wall_s"], size.work_s
