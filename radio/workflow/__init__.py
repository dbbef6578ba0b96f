"""What the workflow makes, out of what; names of variants; paths of artifacts."""

from radio.runtime.compose import MACHINE
from radio.workflow.graph import JobGraph
from radio.workflow.jobs import ARTIFACTS, Job, argument, job

__all__ = ["ARTIFACTS", "MACHINE", "Job", "JobGraph", "argument", "job"]
