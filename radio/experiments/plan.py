"""What the workflow makes, out of what: the jobs behind an experiment's table.

Everything that has to be looked up in a YAML file (the cells of an experiment, what a method
`needs`) is asked here.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from radio.experiments.jobs import ARTIFACTS, READ_AS, Job, job
from radio.rates import ACCURACY, KINDS, rate_override, rate_text
from radio.runtime.compose import CONFIG, PACKAGE, compose_step, options, steps, unknown
from radio.runtime.errors import RadioError
from radio.variants import canonical, full_key, join, split

# keys that say where, how fast and for whom a job runs; never what it finds
MACHINE = {"out", "artifacts", "threads", "wandb"}
# what a method may need, beside the model; statistics come from `refine` where it names one
MADE_BY = {
    "statistics": "calibrate",
    "allocation": "allocate",
    "codebook": "codebook",
    "inputs": "tokenize",
}
# groups whose options may be variants
VARIED = ("method", "calibration")


@dataclass(frozen=True)
class Experiment:
    """A table: the product of its models, texts, (method, rate) cells and seeds.

    Attributes:
        cells: methods and their rates; a method under several seeds stands there with each.
    """

    name: str
    title: str
    models: tuple[str, ...]
    data: tuple[str, ...]
    cells: tuple[tuple[str, str], ...]

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

    def arguments(self, step: str, **names: str) -> list[str]:
        """Hydra overrides of the job of `step` for `names`: what is changed, chosen and asked."""
        groups = _base(step, self.config)
        chosen, settings = dict(names), dict[str, str]()
        for group in VARIED:
            if group in names:
                chosen[group], changed = split(names[group])
                settings |= changed
        if "refinement" in groups and "method" in names:
            chosen["refinement"] = self.method(names["method"]).refinement
        given = [f"{group}={name}" for group, name in chosen.items() if group in groups]
        if "rate" in names and "rate_bits" in groups:
            given.append(rate_override(names["rate"]))
        given = [*self.overrides_of(step), *sorted(given)]
        composed = _composed(step, tuple(given), self.config)
        full = {full_key(composed, key): value for key, value in settings.items()}
        return [*given, *(f"{key}={value}" for key, value in full.items() if key is not None)]

    def compose(self, step: str, **names: str) -> DictConfig:
        """Configuration of the job of `step` for those of `names` that it has a group for."""
        return _composed(step, tuple(self.arguments(step, **names)), self.config)

    def experiment(self, name: str) -> Experiment:
        """Read `config/experiment/NAME.yaml`.

        Raises:
            RadioError: there is none, or it lacks a key, or a rate is none.
        """
        return _experiment(self, name)

    def inputs(self, step: str, **names: str) -> dict[str, str | list[str]]:
        """Paths of what a job reads, by their names under `artifacts` in the step's YAML."""
        above = self.upstream(job(step, names))
        if step == "table":
            return {"evaluations": [evaluation.manifest for evaluation in above]}
        if step == "figure":
            steps_above = dict.fromkeys(each.step for each in above)
            return {s: [each.artifact for each in above if each.step == s] for s in steps_above}
        return {READ_AS[source.step]: source.artifact for source in above}

    def targets(self, experiment: str) -> list[str]:
        """Paths of an experiment's table and of the figures drawn from it, with their manifests.

        The manifests are asked for since git keeps some tables and figures without them: those
        are made anew in a fresh clone.
        """
        table = job("table", {"experiment": experiment})
        figures = [job("figure", {"figure": name}) for name in options("figure", self.config)]
        drawn = [figure for figure in figures if table in self.upstream(figure)]
        return [path for each in (table, *drawn) for path in (each.artifact, each.manifest)]

    def upstream(self, of: Job) -> list[Job]:
        """The jobs whose artifacts the job reads, and on which its numbers rest."""
        names = dict(of.names)
        match of.step:
            case "prepare" | "bench":
                return []
            case "tokenize":
                return [job("prepare", names)]
            case "reference":
                return [job("prepare", names), job("tokenize", names)]
            case "calibrate" | "refine":
                return [job("prepare", names), self._calibration_text(names)]
            case "codebook":
                return [job("prepare", names), self._needed("statistics", names)]
            case "distortion":
                learned = {"codebook"} & set(self.method(names["method"]).needs)
                return [
                    job("prepare", names),
                    *(self._needed(need, names) for need in ("statistics", *learned)),
                ]
            case "allocate":
                return [job("prepare", names), *self._of_allocation(names)]
            case "target":
                return [job("prepare", names), *self._of_target(names)]
            case "quantize":
                needs = self.method(names["method"]).needs
                return [job("prepare", names), *(self._needed(need, names) for need in needs)]
            case "evaluate":
                above = ("prepare", "tokenize", "reference", "quantize")
                return [job(step, names) for step in above]
            case "table":
                return list(self.experiment(names["experiment"]).evaluations())
            case "figure":
                inputs = self.compose("figure", figure=names["figure"]).figure.inputs
                return [job(each.step, _canonical_names(each)) for each in inputs]
        raise RadioError(unknown("step", of.step, ARTIFACTS))

    def _calibration_text(self, names: Mapping[str, str]) -> Job:
        data = self.compose("prepare", model=names["model"]).model.calibration_data
        return job("tokenize", {**names, "data": data})

    def _of_allocation(self, names: Mapping[str, str]) -> Iterator[Job]:
        """What depths are solved from: statistics, measured distortions, the rate of a target."""
        method, kind = self.method(names["method"]), names["rate"].partition("=")[0]
        yield self._needed("statistics", names)
        if method.get("measured"):
            yield job("distortion", names)
        if kind in ACCURACY:
            yield job("target", names)
        elif kind in KINDS and "codebook" in method.needs:
            yield self._needed("codebook", names)

    def _of_target(self, names: Mapping[str, str]) -> Iterator[Job]:
        """What every probe of a target's search reads."""
        method = self.method(names["method"])
        if "allocation" not in method.needs or method.refinement:
            raise RadioError(
                f"rate {names['rate']} is a target of accuracy, and method {method.name} has no "
                "rates to search: ask for bits, or take method radio"
            )
        yield self._calibration_text(names)
        wanted = {"statistics", *method.needs} - {"allocation", "inputs"}
        yield from (self._needed(need, names) for need in sorted(wanted))
        if method.get("measured"):
            yield job("distortion", names)

    def method(self, name: str) -> DictConfig:
        """A method's YAML, once the settings of its variant are known to exist."""
        return _checked_method(self, name)

    def _needed(self, artifact: str, names: Mapping[str, str]) -> Job:
        """The job that makes an artifact in the list `needs` of a method."""
        method = self.method(names["method"])
        if artifact not in MADE_BY:
            raise RadioError(
                unknown(f"artifact in needs of method {method.name}", artifact, MADE_BY)
            )
        if artifact == "inputs":
            return self._calibration_text(names)
        if artifact != "statistics":
            return job(MADE_BY[artifact], names)
        if method.get("refinement"):
            return job("refine", names)
        if method.get("calibration") is None:
            known = ", ".join(options("calibration", self.config))
            raise RadioError(
                f"method {method.name} needs {artifact} but names no calibration: "
                f"set `calibration` in its YAML to one of {known}"
            )
        return job("calibrate", {**names, "calibration": self._calibration(names["method"])})

    def _calibration(self, method: str) -> str:
        """The variant of its calibration that a variant of a method calls for."""
        base = self.method(method).calibration
        composed = self.compose("calibrate", calibration=base)
        settings = split(method)[1]
        return join(base, {key: settings[key] for key in settings if full_key(composed, key)})


def argument(artifact: str, paths: str | Sequence[str]) -> str:
    """Override that hands a step the path or paths of an artifact.

    >>> argument("model", "a.json"), argument("evaluations", ["a.json", "b.json"])
    ("artifacts.model='a.json'", "artifacts.evaluations=['a.json','b.json']")
    """
    quoted = [f"'{path}'" for path in ([paths] if isinstance(paths, str) else paths)]
    value = quoted[0] if isinstance(paths, str) else f"[{','.join(quoted)}]"
    return f"artifacts.{artifact}={value}"


@cache
def _base(step: str, config: Path) -> tuple[str, ...]:
    """Top-level keys of a step's configuration."""
    return tuple(str(key) for key in compose_step(step, (), config))


@cache
def _composed(step: str, overrides: tuple[str, ...], config: Path) -> DictConfig:
    return compose_step(step, overrides, config)


@cache
def _checked_method(plan: Plan, name: str) -> DictConfig:
    """The YAML of a method, with what the settings of its variant change there.

    Raises:
        RadioError: a setting of the variant that no step of the method has.
    """
    base, settings = split(name)
    given = (*plan.overrides_of("quantize"), f"method={base}")
    composed = _composed("quantize", given, plan.config)
    full = {full_key(composed, key): value for key, value in settings.items()}
    changed = [f"{key}={value}" for key, value in full.items() if key is not None]
    method: DictConfig = _composed("quantize", (*given, *changed), plan.config).method
    others = [composed]
    if settings and "allocation" in method.needs:
        steps_run = ("allocate", *(("refine",) if method.get("refinement") else ("target",)))
        others += [
            _composed(step, (*plan.overrides_of(step), f"method={base}"), plan.config)
            for step in steps_run
        ]
    if settings and method.get("calibration"):
        others.append(plan.compose("calibrate", calibration=method.calibration))
    for key in settings:
        if not any(full_key(config, key) for config in others):
            raise RadioError(
                f"method {name} sets {key}, which no step of {base} has: "
                f"see config/method/{base}.yaml and what it names"
            )
    return method


@cache
def _experiment(plan: Plan, name: str) -> Experiment:
    content = OmegaConf.to_container(plan.compose("table", experiment=name).experiment)
    assert isinstance(content, dict)
    try:
        cells = [
            (seeded, rate_text(rate))
            for cell in content["cells"]
            for rate in cell["rates"]
            for seeded in _seeded(plan, cell["method"], content.get("seeds", []))
        ]
        return Experiment(
            name=name,
            title=content["title"],
            models=tuple(content["models"]),
            data=tuple(content["data"]),
            cells=tuple(cells),
        )
    except (KeyError, TypeError) as error:
        raise RadioError(
            f"experiment {name} is not whole ({error!r}): its YAML needs title, models, data and "
            "cells, each cell with a method and its rates"
        ) from error


def _canonical_names(names: Mapping[str, str]) -> dict[str, str]:
    """Names of a job with variants spelled as everywhere."""
    return {key: canonical(name) if key in VARIED else name for key, name in names.items()}


def _seeded(plan: Plan, method: str, seeds: Sequence[int]) -> list[str]:
    """The method under each seed; one that is not calibrated draws nothing and has one form.

    Raises:
        RadioError: a cell names a seed of its own where the experiment has `seeds`.
    """
    base, settings = split(method)
    if not seeds or not plan.method(method).needs:
        return [canonical(method)]
    if "seed" in settings:
        raise RadioError(f"cell {method} has a seed and the experiment has seeds: leave one out")
    return [canonical(join(base, settings | {"seed": str(seed)})) for seed in seeds]


def _head(override: str) -> str:
    """First part of the key of an override.

    >>> _head("model.path=/x"), _head("+seed=1")
    ('model', 'seed')
    """
    return override.lstrip("+~").partition("=")[0].partition(".")[0]
