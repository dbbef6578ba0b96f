"""The Slurm profile against a Slurm: jobs get what they ask for, and more after a kill."""

import json
import os
import re
import subprocess
from pathlib import Path

import pytest

from radio.resources.cluster import asked
from radio.workflow import JobGraph, job
from tests.workflow.slurm import MISSING, slurm
from tests.workflow.snake import ROOT, snakemake
from tests.workflow.test_end_to_end import RESOURCES, local

PROFILE = ["--workflow-profile", str(ROOT / "workflow/profiles/slurm")]
# of a Slurm without accounts and accounting, whose jobs take some ten seconds: the executor asks
# after 5 s and, if none is done, after 15 s more
HERE = ["--slurm-no-account", "--slurm-status-command", "squeue"]
HERE += ["--slurm-init-seconds-before-status-checks", "5", "--max-threads", "1"]


@pytest.mark.slow
@pytest.mark.timeout(900)  # a minute on two cores of one's own
@pytest.mark.skipif(bool(MISSING), reason=f"no {', '.join(MISSING)}: apt-get install slurm-wlm")
def test_jobs_run_and_a_killed_one_asks_for_more(tmp_path: Path) -> None:
    """Of two jobs the second gets too little at first: less than the processes around it take."""
    _, *files = local(tmp_path)[len(RESOURCES) :]
    config = ["--configfile", *files]
    little = ["--set-resources", "quantize:mem_mb=200*6**(attempt-1)"]
    target = "results/local/quantized/rtn/3.safetensors"
    with slurm() as variables:
        snakemake(tmp_path, target, *config, *PROFILE, *HERE, *little, **variables)
        jobs = told_by_slurm(variables)
    assert (tmp_path / target).exists()
    assert [each["JobState"] for each in jobs] == ["COMPLETED", "FAILED", "COMPLETED"]
    assert [each["TresPerJob"] for each in jobs] == ["", *["gres:gpu:1"] * 2]
    overrides = json.loads((tmp_path / "config.json").read_text())["overrides"]
    prepare = job("prepare", {"model": "local"})
    wanted = asked(JobGraph(tuple(overrides)), prepare, device="a100", memory_gb=240)
    memory = [each["MinMemoryNode"] for each in jobs]
    assert memory == [f"{wanted.mem_mb}M", "200M", "1200M"]
    assert jobs[0]["TimeLimit"] == f"00:{wanted.runtime}:00"


@pytest.mark.slow
def test_the_profile_sizes_jobs_without_a_slurm_too(tmp_path: Path) -> None:
    """Those on a model by its size, others as the profile has it."""
    target = "results/random-opt-125m/quantized/radio/3.safetensors"
    output = snakemake(tmp_path, "--dry-run", *PROFILE, target)
    asks = dict(re.findall(r"rule (\w+):.*?resources: (.*?)\n", output, re.DOTALL))
    names = {"model": "random-opt-125m", "method": "radio", "rate": "3"}
    for step in ("prepare", "calibrate", "allocate", "quantize"):
        of = job(step, names | {"calibration": "random-sign"})
        wanted = asked(JobGraph(), of, device="a100", memory_gb=240)
        assert f"mem_mb={wanted.mem_mb}," in asks[step]
        assert f"runtime={wanted.runtime}" in asks[step]
    assert "mem_mb=4000," in asks["tokenize"] and "gpu" not in asks["tokenize"]


def told_by_slurm(variables: dict[str, str]) -> list[dict[str, str]]:
    """What Slurm tells of each job, first to last."""
    answer = subprocess.run(
        ["scontrol", "--oneliner", "show", "jobs"],
        env=os.environ | variables,
        capture_output=True,
        text=True,
        check=True,
    )
    keys = ("JobState", "TresPerJob", "MinMemoryNode", "TimeLimit")
    return [
        {key: "".join(re.findall(rf" {key}=(\S*)", line)) for key in keys}
        for line in answer.stdout.splitlines()
        if line.strip()
    ]
