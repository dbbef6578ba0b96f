"""The job graph of the workflow, paths of artifacts, and names of variants."""

from radio.runtime.compose import MACHINE
from radio.workflow.graph import JobGraph
from radio.workflow.jobs import ARTIFACTS, Job, argument, job

__all__ = ["ARTIFACTS", "MACHINE", "Job", "JobGraph", "argument", "job"]
