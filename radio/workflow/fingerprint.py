"""Fingerprints: a digest of everything that determines a job's results, to rerun only what changed.

A fingerprint hashes the composed configuration, the code of the modules that the step runs, the
content of the user's files that it reads (`model.path`, `data.path`), and the fingerprints of the
upstream jobs. It excludes Python comments and docstrings, labels and machine settings (threads,
W&B, output paths), so editing these reruns nothing. Timestamps are not used.
"""

from functools import cache
from typing import Any

from omegaconf import OmegaConf

from radio.runtime.content import digests_of_paths
from radio.runtime.fingerprint import (
    PLANS,
    WORDS,
    deciding_settings,
    digest,
    digest_of_text,
    step_code_digest,
)
from radio.workflow import Job, JobGraph, job

REPORT = {"table", "figure"}


def fingerprint(plan: JobGraph, step: str, **names: str) -> str:
    """Return the fingerprint of the job of `step` with wildcards `names`, 12 hexadecimal digits."""
    return _fingerprint(plan, job(step, names))


@cache
def _fingerprint(plan: JobGraph, of: Job) -> str:
    # composed without the rate, which is in the job's names
    names = {name: value for name, value in of.names if name != "rate"}
    config = OmegaConf.to_container(plan.compose(of.step, **names), resolve=False)
    assert isinstance(config, dict)
    tables = [of, *plan.upstream(of)] if of.step in REPORT else []
    shown = [
        _words(plan, dict(table.names)["experiment"]) for table in tables if table.step == "table"
    ]
    if of.step == "ledger":
        shown.append(_files(plan, "paper/*.csv", "experiment/*.yaml"))
    numbers = deciding_settings(config, PLANS if of.step in REPORT else PLANS | WORDS)
    code = step_code_digest(of.step, config, plan.package)
    upstream = [_fingerprint(plan, above) for above in plan.upstream(of)]
    return digest(repr((of, numbers, shown, code, upstream, *digests_of_paths(config))))


def _words(plan: JobGraph, experiment: str) -> list[Any]:
    """Return the content of a report besides results: labels, notes and the paper's values."""
    cells = plan.experiment(experiment)
    parts = [
        *(plan.compose("prepare", model=name).model for name in cells.models),
        *(plan.compose("tokenize", data=name).data for name in cells.data),
        *(plan.compose("quantize", method=name).method for name, _ in cells.cells),
        *(part for name in cells.tasks for part in _tasks(plan, name)),
    ]
    words = [(part.get("label"), part.get("note")) for part in parts]
    return [*words, *_files(plan, "paper/*.csv")]


def _files(plan: JobGraph, *patterns: str) -> list[str]:
    """Return digests of configuration files."""
    paths = [path for pattern in patterns for path in sorted(plan.config.glob(pattern))]
    return [digest_of_text(path) for path in paths]


def _tasks(plan: JobGraph, name: str) -> list[Any]:
    """Return the tasks of a set and their averages."""
    tasks = plan.compose("downstream", tasks=name).tasks
    return [*tasks.tasks.values(), *tasks.averages.values()]
