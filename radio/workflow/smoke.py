"""Smoke runs: the job graphs of the paper's tables on tiny random models."""

from radio.runtime.compose import options
from radio.runtime.errors import RadioError
from radio.workflow.graph import JobGraph

PREFIX = "smoke_"


def smoke_experiments(plan: JobGraph) -> list[str]:
    """Return the names of the experiments that run only with `smoke=true`."""
    return [name for name in options("experiment", plan.config) if name.startswith(PREFIX)]


def check_smoke(smoke: bool, experiment: str) -> None:
    """Check that smoke experiments, and only these, run with `smoke=true`.

    Raises:
        RadioError: `smoke` does not fit the experiment.
    """
    if experiment.startswith(PREFIX) == smoke:
        return
    if smoke:
        raise RadioError(
            f"smoke=true makes no table of real models such as {experiment}: ask for "
            f"results/{PREFIX}{experiment}.csv, or for no target, or leave out smoke=true"
        )
    raise RadioError(f"{experiment} is of miniatures: add --config smoke=true")
