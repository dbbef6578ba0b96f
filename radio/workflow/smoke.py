"""The graphs of the paper's tables on random miniatures, kept apart from the real tables."""

from radio.runtime.compose import options
from radio.runtime.errors import RadioError
from radio.workflow.graph import JobGraph

PREFIX = "smoke_"


def smoke_experiments(plan: JobGraph) -> list[str]:
    """Names of the experiments that are run under `smoke=true`, and only then."""
    return [name for name in options("experiment", plan.config) if name.startswith(PREFIX)]


def check_smoke(smoke: bool, experiment: str) -> None:
    """Refuse a real table under smoke's overrides, and smoke's without them.

    Raises:
        RadioError: one of the two.
    """
    if experiment.startswith(PREFIX) == smoke:
        return
    if smoke:
        raise RadioError(
            f"smoke=true makes no table of real models such as {experiment}: ask for "
            f"results/{PREFIX}{experiment}.csv, or for no target, or leave out smoke=true"
        )
    raise RadioError(f"{experiment} is of miniatures: add --config smoke=true")
