"""What the workflow makes, out of what; names of variants; paths of artifacts."""

from radio.experiments.jobs import ARTIFACTS, Job, job
from radio.experiments.plan import MACHINE, Plan, argument

__all__ = ["ARTIFACTS", "MACHINE", "Job", "Plan", "argument", "job"]
