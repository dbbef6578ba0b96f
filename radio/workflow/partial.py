"""Tables from available results: find missing models, and build tables without them."""

import json
import os
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from radio.runtime.unavailable import record_unavailable, why_unavailable
from radio.workflow.graph import JobGraph
from radio.workflow.jobs import job


def missing_models(plan: JobGraph, experiment: str) -> dict[str, str]:
    """Return the models of an experiment whose weights are unavailable, with reasons."""
    models = plan.experiment(experiment).models
    folders = {name: Path(job("prepare", {"model": name}).artifact).parent for name in models}
    reasons = {name: why_unavailable(folder) for name, folder in folders.items()}
    return {name: reason for name, reason in reasons.items() if reason is not None}


def keep_reasons(reasons: Mapping[str, str]) -> None:
    """Save why models were left out, for use in tables, unless their weights are available."""
    for model, reason in reasons.items():
        folder = Path(job("prepare", {"model": model}).artifact).parent
        record_unavailable(folder, reason)


def existing(inputs: Mapping[str, str | list[str]]) -> dict[str, list[str]]:
    """Return a table's inputs that exist."""
    return {name: [path for path in paths if Path(path).exists()] for name, paths in inputs.items()}


def partial_command(
    snakefile: Path,
    experiments: Iterable[str],
    config: Mapping[str, Any],
    others: Iterable[str] = (),
) -> list[str]:
    """Return the command that builds tables from available results while a run holds the lock.

    Args:
        snakefile: the workflow's Snakefile.
        experiments: names of the tables.
        config: configuration of the run that holds the lock.
        others: further targets.
    """
    tables = [job("table", {"experiment": name}).artifact for name in experiments]
    settings = {**config, "partial": True}
    return [
        *(sys.executable, "-m", "snakemake", "--nolock", "--quiet", "all"),
        *("--snakefile", str(snakefile), "--directory", os.getcwd()),
        *("--config", *(f"{key}={json.dumps(value)}" for key, value in settings.items()), "--"),
        *tables,
        *others,
    ]
