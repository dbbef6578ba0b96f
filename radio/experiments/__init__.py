"""What the workflow makes, out of what; names of variants; paths of artifacts."""

from radio.experiments.jobs import ARTIFACTS, Job, argument, job
from radio.experiments.plan import Plan
from radio.runtime.compose import MACHINE

__all__ = ["ARTIFACTS", "MACHINE", "Job", "Plan", "argument", "job"]
