"""What the workflow makes, out of what: the jobs behind an experiment's table.

A job is a step and the names that tell it from its sisters (its wildcards in the workflow). The
rules under `workflow/` spell the same paths as literals; everything that has to be looked up in a
YAML file (the cells of an experiment, what a method `needs`) is asked here.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from radio.runtime.compose import CONFIG, PACKAGE, compose_step, options, steps, unknown
from radio.runtime.errors import RadioError

ARTIFACTS = {
    "prepare": "results/{model}/model.json",
    "tokenize": "results/{model}/tokens/{data}.safetensors",
    "reference": "results/{model}/reference/{data}.safetensors",
    "calibrate": "results/{model}/statistics/{calibration}.safetensors",
    "allocate": "results/{model}/allocation/{method}/{rate}.safetensors",
    "quantize": "results/{model}/quantized/{method}/{rate}.safetensors",
    "evaluate": "results/{model}/evaluation/{method}/{rate}/{data}.csv",
    "table": "results/{experiment}.csv",
    "figure": "results/figures/{figure}.png",
}
# names of artifacts in the steps' YAML files
READ_AS = {
    "prepare": "model",
    "tokenize": "tokens",
    "reference": "reference",
    "calibrate": "statistics",
    "allocate": "allocation",
    "quantize": "quantized",
    "table": "table",
}
# keys that say where, how fast and for whom a job runs; never what it finds
MACHINE = {"out", "artifacts", "threads", "wandb"}
MADE_BY = {"statistics": "calibrate", "allocation": "allocate"}
MAX_RATE_BITS = 16


@dataclass(frozen=True)
class Job:
    """One run of a step: `names` are the wildcards of its artifact's path."""

    step: str
    names: tuple[tuple[str, str], ...]

    @property
    def artifact(self) -> str:
        """Path of what the job makes."""
        return ARTIFACTS[self.step].format(**dict(self.names))

    @property
    def manifest(self) -> str:
        """Path of the manifest beside it."""
        return str(Path(self.artifact).with_suffix(".json"))


def job(step: str, names: Mapping[str, str]) -> Job:
    """The job of `step` for those of `names` that its artifact's path has.

    >>> job("prepare", {"model": "opt-125m", "data": "c4"}).artifact
    'results/opt-125m/model.json'
    """
    held = {name: names[name] for name in names if f"{{{name}}}" in ARTIFACTS[step]}
    return Job(step, tuple(sorted(held.items())))


@dataclass(frozen=True)
class Experiment:
    """A table: the product of its models, texts and (method, rate) cells."""

    name: str
    title: str
    models: tuple[str, ...]
    data: tuple[str, ...]
    cells: tuple[tuple[str, str], ...]
    figure: str | None

    def evaluations(self) -> list[Job]:
        """The evaluations behind the table, in the order of its rows."""
        return [
            job("evaluate", {"model": model, "method": method, "rate": rate, "data": data})
            for model in self.models
            for data in self.data
            for method, rate in self.cells
        ]


@dataclass(frozen=True)
class Plan:
    """The job graph under given configuration files, code and overrides.

    Attributes:
        overrides: Hydra overrides for every step that has their key.
        config: folder of the YAML files.
        package: folder of the code.
    """

    overrides: tuple[str, ...] = ()
    config: Path = field(default=CONFIG)
    package: Path = field(default=PACKAGE)

    def overrides_of(self, step: str) -> list[str]:
        """Those of the overrides that `step` has the key of.

        Raises:
            RadioError: an override that no step has the key of, or that changes no number: as
                parameters of all jobs, such would make everything anew.
        """
        keys = {name: _base(name, self.config) for name in steps(self.config) if self.overrides}
        known = set().union(*keys.values())
        for override in self.overrides:
            if _head(override) in MACHINE:
                raise RadioError(
                    f"overrides has {override}, which changes no number: set WANDB_MODE, use "
                    "snakemake's --set-threads, or edit config/common.yaml"
                )
            if _head(override) not in known:
                raise RadioError(unknown("key in overrides", _head(override), known - MACHINE))
        return [override for override in self.overrides if _head(override) in keys[step]]

    def compose(self, step: str, **choices: str) -> DictConfig:
        """Configuration of `step` with those of `choices` that it has a group for."""
        groups = _base(step, self.config)
        chosen = sorted(f"{group}={name}" for group, name in choices.items() if group in groups)
        return _composed(step, (*self.overrides_of(step), *chosen), self.config)

    def experiment(self, name: str) -> Experiment:
        """Read `config/experiment/NAME.yaml`.

        Raises:
            RadioError: there is none, or it lacks a key, or a rate is no number in (0, 16].
        """
        return _experiment(self, name)

    def experiment_of_figure(self, figure: str) -> str:
        """Name of the experiment whose table the figure is drawn from."""
        drawn = {self.experiment(name).figure: name for name in options("experiment", self.config)}
        if figure not in drawn:
            raise RadioError(unknown("figure", figure, (name for name in drawn if name)))
        return drawn[figure]

    def inputs(self, step: str, **names: str) -> dict[str, str | list[str]]:
        """Paths of what a job reads, by their names under `artifacts` in the step's YAML."""
        above = self.upstream(job(step, names))
        if step == "table":
            return {"evaluations": [evaluation.manifest for evaluation in above]}
        return {READ_AS[source.step]: source.artifact for source in above}

    def targets(self, experiment: str) -> list[str]:
        """Paths of an experiment's table and figure, with their manifests.

        The manifests are asked for since git keeps some tables and figures without them: those
        are made anew in a fresh clone.
        """
        made = [job("table", {"experiment": experiment})]
        figure = self.experiment(experiment).figure
        if figure is not None:
            made.append(job("figure", {"figure": figure}))
        return [path for each in made for path in (each.artifact, each.manifest)]

    def upstream(self, of: Job) -> list[Job]:
        """The jobs whose artifacts the job reads, and on which its numbers rest."""
        names = dict(of.names)
        match of.step:
            case "prepare":
                return []
            case "tokenize":
                return [job("prepare", names)]
            case "reference":
                return [job("prepare", names), job("tokenize", names)]
            case "calibrate":
                data = self.compose("prepare", model=names["model"]).model.calibration_data
                return [job("prepare", names), job("tokenize", names | {"data": data})]
            case "allocate":
                return [self._needed("statistics", names)]
            case "quantize":
                needs = self._method(names["method"]).needs
                return [job("prepare", names), *(self._needed(need, names) for need in needs)]
            case "evaluate":
                above = ("prepare", "tokenize", "reference", "quantize")
                return [job(step, names) for step in above]
            case "table":
                return list(self.experiment(names["experiment"]).evaluations())
            case "figure":
                experiment = self.experiment_of_figure(names["figure"])
                return [job("table", {"experiment": experiment})]
        raise RadioError(unknown("step", of.step, ARTIFACTS))

    def _method(self, name: str) -> DictConfig:
        method: DictConfig = self.compose("quantize", method=name).method
        return method

    def _needed(self, artifact: str, names: Mapping[str, str]) -> Job:
        """The job that makes an artifact in the list `needs` of a method."""
        method = self._method(names["method"])
        if artifact not in MADE_BY:
            raise RadioError(
                unknown(f"artifact in needs of method {method.name}", artifact, MADE_BY)
            )
        if method.calibration is None:
            known = ", ".join(options("calibration", self.config))
            raise RadioError(
                f"method {method.name} needs {artifact} but names no calibration: "
                f"set `calibration` in its YAML to one of {known}"
            )
        return job(MADE_BY[artifact], {**names, "calibration": method.calibration})


def rate_text(rate_bits: Any) -> str:
    """A rate as it stands in paths.

    >>> rate_text(3), rate_text(2.50)
    ('3', '2.5')

    Raises:
        RadioError: it is not a number in (0, 16].
    """
    number = isinstance(rate_bits, int | float) and not isinstance(rate_bits, bool)
    if not number or not 0 < rate_bits <= MAX_RATE_BITS:
        raise RadioError(
            f"rates has {rate_bits!r}, which is not a rate: give bits a weight, above 0 and at "
            "most 8 (16 for fp16)"
        )
    return f"{rate_bits:g}"


def argument(artifact: str, paths: str | Sequence[str]) -> str:
    """Override that hands a step the path or paths of an artifact.

    >>> argument("model", "a.json"), argument("evaluations", ["a.json", "b.json"])
    ('artifacts.model=a.json', 'artifacts.evaluations=[a.json,b.json]')
    """
    value = paths if isinstance(paths, str) else f"[{','.join(paths)}]"
    return f"artifacts.{artifact}={value}"


@cache
def _base(step: str, config: Path) -> tuple[str, ...]:
    """Top-level keys of a step's configuration."""
    return tuple(str(key) for key in compose_step(step, (), config))


@cache
def _composed(step: str, overrides: tuple[str, ...], config: Path) -> DictConfig:
    return compose_step(step, overrides, config)


@cache
def _experiment(plan: Plan, name: str) -> Experiment:
    content = OmegaConf.to_container(plan.compose("table", experiment=name).experiment)
    assert isinstance(content, dict)
    try:
        return Experiment(
            name=name,
            title=content["title"],
            models=tuple(content["models"]),
            data=tuple(content["data"]),
            cells=tuple(_cells(content["cells"])),
            figure=content.get("figure"),
        )
    except (KeyError, TypeError) as error:
        raise RadioError(
            f"experiment {name} is not whole ({error!r}): its YAML needs title, models, data and "
            "cells, each cell with a method and its rates"
        ) from error


def _cells(content: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """All (method, rate) pairs in the order given."""
    return [(cell["method"], rate_text(rate)) for cell in content for rate in cell["rates"]]


def _head(override: str) -> str:
    """First part of the key of an override.

    >>> _head("model.path=/x"), _head("+seed=1")
    ('model', 'seed')
    """
    return override.lstrip("+~").partition("=")[0].partition(".")[0]
