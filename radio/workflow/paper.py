"""Workflow targets for the paper's tables and figures, and those that fit on this machine."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from omegaconf import OmegaConf

from radio.report.labels import numbered
from radio.resources.machine_limits import why_too_large
from radio.runtime.compose import unknown
from radio.runtime.errors import RadioError
from radio.workflow.graph import JobGraph
from radio.workflow.jobs import Job, job

BENCH = "table_kernel"  # a table without an experiment


def paper_numbers(plan: JobGraph, name: str) -> list[str]:
    """Return the paper's tables or figures that an experiment or a figure reproduces."""
    tables, figures = _specs(plan)
    keys = ("experiments", "figures", "embedded")
    return [
        numbered(number)
        for number, spec in {**tables, **figures}.items()
        if any(name in spec.get(key, []) for key in keys)
    ]


class Fitting(NamedTuple):
    """The part of the paper that this machine can reproduce.

    Attributes:
        targets: paths to request.
        too_large: reasons by model that does not fit.
        without: such models by experiment.
        left_out: such models by figure.
    """

    targets: list[str]
    too_large: dict[str, str]
    without: dict[str, list[str]]
    left_out: dict[str, list[str]]

    def sentences(self) -> list[str]:
        """Return sentences on what is left out, and why."""
        return [
            *(f"{name} is made without {', '.join(of)}" for name, of in self.without.items()),
            *(f"figure {name} is left out: {', '.join(of)}" for name, of in self.left_out.items()),
            *self.too_large.values(),
        ]


def paper_targets(plan: JobGraph, name: str, *, embedded: bool = False) -> list[str]:
    """Return the paths that reproduce a table or figure of the paper (config/ledger.yaml).

    Args:
        plan: the job graph.
        name: name such as table_3a or figure_1.
        embedded: whether to use models that need no hub.

    Raises:
        RadioError: config/ledger.yaml does not list the name, or lists no experiment for it.
    """
    tables, figures = _specs(plan)
    if name in figures:
        return [path for each in _figures(figures[name], embedded) for path in _made(each)]
    if name not in tables:
        raise RadioError(unknown("table or figure", name, {**tables, **figures}))
    experiments = tables[name]["embedded" if embedded else "experiments"]
    if not experiments:
        raise RadioError(f"{name} has no experiment in config/ledger.yaml yet: name one there")
    return [path for each in experiments for path in _of_experiment(plan, each)]


def fitting_targets(plan: JobGraph) -> Fitting:
    """Return targets for all of the paper, with and without the hub, for models that fit.

    If some models of a table do not fit, the targets are the evaluations of the others instead of
    the table, which is then built from the available evaluations.
    """
    tables, figures = _specs(plan)
    targets: list[str] = []
    without: dict[str, list[str]] = {}
    left_out: dict[str, list[str]] = {}
    experiments = [each for spec in tables.values() for each in spec["embedded"]]
    experiments += [each for spec in tables.values() for each in spec["experiments"]]
    drawn = [
        each
        for spec in figures.values()
        for each in (*_figures(spec, True), *_figures(spec, False))
    ]
    models = {name: list(plan.experiment(name).models) for name in experiments if name != BENCH}
    models |= {figure.artifact: _models(plan, figure) for figure in drawn}
    too_large = _too_large(plan, {model for names in models.values() for model in names})
    for name in dict.fromkeys(experiments):
        missing = [model for model in models.get(name, []) if model in too_large]
        if missing:
            without[name] = missing
            jobs = plan.upstream(job("table", {"experiment": name}))
            targets += [each.manifest for each in jobs if dict(each.names)["model"] not in missing]
        else:
            targets += _of_experiment(plan, name)
    for figure in dict.fromkeys(drawn):
        missing = [model for model in models[figure.artifact] if model in too_large]
        if missing:
            left_out[dict(figure.names)["figure"]] = missing
        else:
            targets += _made(figure)
    return Fitting(list(dict.fromkeys(targets)), too_large, without, left_out)


def _models(plan: JobGraph, figure: Job) -> list[str]:
    """Return the models whose artifacts a figure reads."""
    named = [dict(above.names).get("model") for above in plan.upstream(figure)]
    return [model for model in dict.fromkeys(named) if model]


def _specs(plan: JobGraph) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the entries of config/ledger.yaml for tables and for figures, by name."""
    config: Any = OmegaConf.to_container(plan.compose("ledger"))
    return config["tables"], config["figures"]


def _figures(spec: Mapping[str, Any], embedded: bool) -> list[Job]:
    return [job("figure", {"figure": name}) for name in spec["embedded" if embedded else "figures"]]


def _of_experiment(plan: JobGraph, name: str) -> list[str]:
    """Return the paths of an experiment's table and figures, or of the benchmark's table."""
    return list(_made(job("bench", {}))) if name == BENCH else plan.targets(name)


def _made(by: Job) -> Iterator[str]:
    yield by.artifact
    yield by.manifest


def _too_large(plan: JobGraph, models: Iterable[str]) -> dict[str, str]:
    """Return the models that do not fit on this machine, with reasons."""
    sizes = plan.config / "paper/models.csv"
    reasons = {model: why_too_large(model, sizes) for model in sorted(models)}
    return {model: reason for model, reason in reasons.items() if reason}
