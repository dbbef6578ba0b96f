"""Cluster resources of a job from the size of its model: memory, time, disk.

The plan may be an estimate: a job that fails gets more with each attempt.
"""

from typing import NamedTuple

from radio.models.spec import ModelSpec
from radio.resources.job_estimate import MB, read_device, size_of
from radio.resources.planned_shape import geometry_of
from radio.runtime.errors import RadioError
from radio.workflow.graph import JobGraph
from radio.workflow.jobs import Job

# factors on the plan for the first attempt, and the growth factor after each failed attempt
MEMORY_MARGIN, TIME_MARGIN, GROWTH = 1.25, 4.0, 1.5
# steps that can read a model from disk block by block, to fit into less memory
STREAM = {"calibrate", "quantize", "reference", "evaluate"}
# two Snakemake processes around a job, which count as its own memory
AROUND_BYTES = 600 * MB
STARTING_S = 1800.0  # imports, reading, a slow file system


class Asked(NamedTuple):
    """Host memory and disk in megabytes, time in minutes."""

    mem_mb: int
    runtime: int
    disk_mb: int


def asked(plan: JobGraph, of: Job, device: str, memory_gb: float | int, attempt: int = 1) -> Asked:
    """Return a job's request; a whole node for a day if the size of its model is unknown.

    Args:
        plan: the job graph.
        of: a job on a model.
        device: name of the YAML in config/hardware with a node's speeds.
        memory_gb: memory of a node; a step of `STREAM` that needs more streams within it.
        attempt: number of the attempt, from 1.

    Raises:
        RadioError: there is no such device.
    """
    speeds = read_device(device)
    speeds.memory_gb = memory_gb
    names = dict(of.names)
    spec = ModelSpec.from_config(plan.compose("prepare", model=names["model"]).model)
    try:
        geometry = geometry_of(spec)
    except RadioError:
        return Asked(int(1000 * memory_gb), 24 * 60, 0)
    size = size_of(plan, of, spec, geometry, speeds)
    more = GROWTH ** (attempt - 1)
    memory_mb = more * (MEMORY_MARGIN * size.memory_bytes + AROUND_BYTES) / MB
    if of.step in STREAM:
        memory_mb = min(memory_mb, 1000 * memory_gb)
    minutes = more * (STARTING_S + TIME_MARGIN * size.work_s) / 60
    return Asked(int(memory_mb), int(minutes), int(MEMORY_MARGIN * size.disk_bytes / MB) + 1)
