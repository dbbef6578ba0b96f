"""Every table and figure is a target, named after config/experiment/NAME.yaml:

    snakemake --cores all results/NAME.csv

Tables and figures of the paper are also targets by number: `snakemake --list` describes them.
Snakemake determines paths and jobs, Hydra (config/) all hyperparameters. A job is rerun if its
fingerprint changes (radio/workflow/fingerprint.py), never because of a timestamp.
"""

import os
import subprocess
import sys
from functools import cache
from pathlib import Path

from snakemake.exceptions import WorkflowError
from snakemake.utils import min_version, validate

from radio.workflow import JobGraph, argument, job
from radio.workflow.manifests import manifests_digest
from radio.workflow.paper import fitting_targets, paper_numbers, paper_targets
from radio.workflow.partial import (
    existing,
    keep_reasons,
    missing_models,
    partial_command,
)
from radio.workflow.smoke import check_smoke, smoke_experiments
from radio.workflow.fingerprint import fingerprint
from radio.runtime.errors import RadioError
from radio.runtime.workflow_lock import hold_workflow_lock

min_version("9.27")


configfile: str(Path(workflow.basedir) / "config/config.yaml")


validate(config, "workflow/schemas/config.schema.yaml")

# so that jobs find the `radio` of this environment even if it is not activated
os.environ |= {"PATH": f"{Path(sys.executable).parent}:{os.getenv('PATH')}"}


wildcard_constraints:
    model=r"[\w.-]+",
    data=r"[\w-]+",
    tasks=r"[\w-]+",
    calibration=r"[\w.@=,-]+",
    method=r"[\w.@=,-]+",
    rate=r"(\w+=)?[\d.]+(e-?\d+)?(MB|GB|%)?",
    experiment=r"(?!(ledger|table_kernel|table_decode)\b)\w+",  # which have their own rules
    figure=r"\w+",


report: "workflow/report/workflow.rst"


include: "workflow/rules/common.smk"
include: "workflow/rules/prepare.smk"
include: "workflow/rules/calibrate.smk"
include: "workflow/rules/allocate.smk"
include: "workflow/rules/quantize.smk"
include: "workflow/rules/evaluate.smk"
include: "workflow/rules/report.smk"
include: "workflow/rules/bench.smk"
include: "workflow/rules/paper.smk"


rule all:
    """The tables of `experiments` in config/config.yaml, and their figures."""
    default_target: True
    input:
        targets,
