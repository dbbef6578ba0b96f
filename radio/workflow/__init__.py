"""What the workflow makes, out of what; names of variants; paths of artifacts."""

from radio.workflow.jobs import ARTIFACTS, Job, argument, job
from radio.workflow.graph import Plan
from radio.runtime.compose import MACHINE

__all__ = ["ARTIFACTS", "MACHINE", "Job", "Plan", "argument", "job"]
