"""Targets behind the paper's tables and figures, and which of them a machine can make."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from omegaconf import OmegaConf

from radio.report.labels import numbered
from radio.resources.machine_limits import why_too_large
from radio.runtime.compose import unknown
from radio.runtime.errors import RadioError
from radio.workflow.graph import JobGraph
from radio.workflow.jobs import Job, job

BENCH = "table_kernel"  # a table of no experiment


def paper_numbers(plan: JobGraph, name: str) -> list[str]:
    """What an experiment or a figure is a study of, such as Table 1 and Table 5."""
    tables, figures = _specs(plan)
    keys = ("experiments", "figures", "embedded")
    return [
        numbered(number)
        for number, spec in {**tables, **figures}.items()
        if any(name in spec.get(key, []) for key in keys)
    ]


class Fitting(NamedTuple):
    """What of the paper a machine can make.

    Attributes:
        targets: paths to ask for.
        too_large: models that do not fit, and why.
        without: experiments that have such models, and which.
        left_out: figures of such models, and which.
    """

    targets: list[str]
    too_large: dict[str, str]
    without: dict[str, list[str]]
    left_out: dict[str, list[str]]

    def sentences(self) -> list[str]:
        """What is left out, and why."""
        return [
            *(f"{name} is made without {', '.join(of)}" for name, of in self.without.items()),
            *(f"figure {name} is left out: {', '.join(of)}" for name, of in self.left_out.items()),
            *self.too_large.values(),
        ]


def paper_targets(plan: JobGraph, name: str, *, embedded: bool = False) -> list[str]:
    """Paths of what a table or figure of the paper is made of (config/ledger.yaml).

    Args:
        plan: the job graph.
        name: such as table_3a or figure_1.
        embedded: of the same study on models that need no hub.

    Raises:
        RadioError: config/ledger.yaml does not have it, or has nothing for it.
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
    """What the paper's tables and figures and their embedded studies need, as far as models fit.

    A table with models that do not fit is not among the targets, but the evaluations of the models
    that do are: it is to be made of what is there.
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
    """Models whose artifacts a figure reads."""
    named = [dict(above.names).get("model") for above in plan.upstream(figure)]
    return [model for model in dict.fromkeys(named) if model]


def _specs(plan: JobGraph) -> tuple[dict[str, Any], dict[str, Any]]:
    """What config/ledger.yaml says of tables and of figures, by name."""
    config: Any = OmegaConf.to_container(plan.compose("ledger"))
    return config["tables"], config["figures"]


def _figures(spec: Mapping[str, Any], embedded: bool) -> list[Job]:
    return [job("figure", {"figure": name}) for name in spec["embedded" if embedded else "figures"]]


def _of_experiment(plan: JobGraph, name: str) -> list[str]:
    """Paths of an experiment's table and figures; or of the benchmark, which has no experiment."""
    return list(_made(job("bench", {}))) if name == BENCH else plan.targets(name)


def _made(by: Job) -> Iterator[str]:
    yield by.artifact
    yield by.manifest


def _too_large(plan: JobGraph, models: Iterable[str]) -> dict[str, str]:
    """Those of the models that this machine cannot hold, and why."""
    sizes = plan.config / "paper/models.csv"
    reasons = {model: why_too_large(model, sizes) for model in sorted(models)}
    return {model: reason for model, reason in reasons.items() if reason}
