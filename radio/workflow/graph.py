"""The job graph: upstream jobs and input paths of every job."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from radio.rate import ACCURACY, KINDS, rate_override, rate_text
from radio.runtime.build import build
from radio.runtime.compose import options, unknown
from radio.runtime.errors import RadioError
from radio.workflow.config import VARIED, ConfigResolver
from radio.workflow.experiment import Experiment, read_experiment
from radio.workflow.jobs import ARTIFACTS, READ_AS, Job, job
from radio.workflow.variants import canonical, full_key, join, split

# steps by the artifacts that a method may need besides the model; `refine` makes the statistics
# if the method has a refinement
MADE_BY = {
    "statistics": "calibrate",
    "allocation": "allocate",
    "codebook": "codebook",
    "inputs": "tokenize",
}


@dataclass(frozen=True)
class JobGraph(ConfigResolver):
    """The job graph under given configuration files, code and overrides."""

    def experiment(self, name: str) -> Experiment:
        """Read `config/experiment/NAME.yaml`.

        Raises:
            RadioError: the file does not exist or lacks a key, or a rate is invalid.
        """
        return read_experiment(self, name)

    def inputs(self, step: str, **names: str) -> dict[str, str | list[str]]:
        """Return the input paths of a job, by their names under `artifacts` in the step's YAML.

        Raises:
            RadioError: a name is unknown, or the method does not support the rate.
        """
        if "rate" in names:
            self._check_rate(names["method"], names["rate"])
        above = self.upstream(job(step, names))
        if step == "table":
            return {"evaluations": [evaluation.manifest for evaluation in above]}
        if step == "figure":
            steps_above = dict.fromkeys(each.step for each in above)
            return {s: [each.artifact for each in above if each.step == s] for s in steps_above}
        if step in ("bench", "decode"):
            steps_above = dict.fromkeys(each.step for each in above)
            lists = {s: [each.artifact for each in above if each.step == s] for s in steps_above}
            # one model, several artifacts to compare
            return {READ_AS[s]: paths[0] if s == "prepare" else paths for s, paths in lists.items()}
        return {READ_AS[source.step]: source.artifact for source in above}

    def _check_rate(self, name: str, rate: str) -> None:
        """Raise a `RadioError` unless the text of a path is a rate that the method supports.

        Asking the method imports torch, which takes a second. Therefore integer depths, which all
        methods support, and float16 without upstream jobs are checked only by the job itself.
        """
        rate_override(rate)
        method = self.method(name)
        if "=" in rate or rate in map(str, range(1, 9)) or (rate == "16" and not method.needs):
            return
        build(method.quantizer, "method.quantizer", object).check_rate(float(rate))

    def targets(self, experiment: str) -> list[str]:
        """Return paths of an experiment's table and its figures, with their manifests.

        Manifests are included because git contains some tables and figures without them: these
        are rebuilt in a fresh clone.
        """
        table = job("table", {"experiment": experiment})
        named = options("figure", self.config, saying=experiment)
        figures = [job("figure", {"figure": name}) for name in named]
        drawn = [figure for figure in figures if table in self.upstream(figure)]
        return [path for each in (table, *drawn) for path in (each.artifact, each.manifest)]

    def upstream(self, of: Job) -> list[Job]:
        """Return the jobs whose artifacts the job reads."""
        names = dict(of.names)
        match of.step:
            case "prepare" | "items" | "ledger":
                return []
            case "bench":
                composed = self.compose("bench")
                rates = map(rate_text, composed.mean_bits)
                return [job("allocate", {**composed.allocated_for, "rate": r}) for r in rates]
            case "decode":
                composed = self.compose("decode")
                model, made = composed.model.name, composed.packed_by
                named = {"model": model, "method": made.method}
                rates = map(rate_text, made.rates)
                coded = [job("quantize", {**named, "rate": rate}) for rate in rates]
                return [job("prepare", named), *coded]
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
            case "downstream":
                made = ["prepare", "quantize", *self._items(names)]
                return [job(step, names) for step in made]
            case "table":
                return self._behind_rows(self.experiment(names["experiment"]))
            case "figure":
                inputs = self.compose("figure", figure=names["figure"]).figure.inputs
                return [job(each.step, _canonical_names(each)) for each in inputs]
        raise RadioError(unknown("step", of.step, ARTIFACTS))

    def behind(self, of: Job) -> Iterator[Job]:
        """Yield all direct and indirect upstream jobs in the order of execution, then the job.

        A job that several others read is repeated for each of them.
        """
        for above in self.upstream(of):
            yield from self.behind(above)
        yield of

    def _behind_rows(self, of: Experiment) -> list[Job]:
        """Return the jobs whose manifests an experiment's table reads, in row order.

        Raises:
            RadioError: a method does not have one of the stages.
        """
        if not of.stages:
            return of.evaluations()
        rows = []
        for quantized in of.evaluations():
            made = {each.step: each for each in self.behind(quantized)}
            if missing := [stage for stage in of.stages if stage not in made]:
                raise RadioError(
                    f"stages of experiment {of.name} has {missing[0]}, and what is made for "
                    f"{quantized.artifact} is {', '.join(made)}: name some of these"
                )
            rows += [made[stage] for stage in of.stages]
        return rows

    def _calibration_text(self, names: Mapping[str, str]) -> Job:
        data = self.compose("prepare", model=names["model"]).model.calibration_data
        return job("tokenize", {**names, "data": data})

    def _items(self, names: Mapping[str, str]) -> list[str]:
        """Return the step that makes the task items, if lm-eval does not provide them."""
        tasks = self.compose("items", tasks=names["tasks"]).tasks
        return [] if tasks.items_from is None else ["items"]

    def _of_allocation(self, names: Mapping[str, str]) -> Iterator[Job]:
        """Yield the inputs of an allocation: statistics, measured distortion, rate of a target."""
        method, kind = self.method(names["method"]), names["rate"].partition("=")[0]
        yield self._needed("statistics", names)
        if method.get("use_measured_distortion"):
            yield job("distortion", names)
        if kind in ACCURACY:
            yield job("target", names)
        elif kind in KINDS and "codebook" in method.needs:
            yield self._needed("codebook", names)

    def _of_target(self, names: Mapping[str, str]) -> Iterator[Job]:
        """Yield the inputs of a search for a target of accuracy."""
        method = self.method(names["method"])
        if "allocation" not in method.needs or method.refinement:
            raise RadioError(
                f"rate {names['rate']} is a target of accuracy, and method {method.name} has no "
                "rates to search: ask for bits, or take method radio"
            )
        yield self._calibration_text(names)
        wanted = {"statistics", *method.needs} - {"allocation", "inputs"}
        yield from (self._needed(need, names) for need in sorted(wanted))
        if method.get("use_measured_distortion"):
            yield job("distortion", names)

    def _needed(self, artifact: str, names: Mapping[str, str]) -> Job:
        """Return the job that makes an artifact in a method's list `needs`."""
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
        """Return the variant of the calibration that a variant of a method uses."""
        base = self.method(method).calibration
        composed = self.compose("calibrate", calibration=base)
        settings = split(method)[1]
        return join(base, {key: settings[key] for key in settings if full_key(composed, key)})


def _canonical_names(names: Mapping[str, str]) -> dict[str, str]:
    """Return the names of a job, with variants in canonical form."""
    return {key: canonical(name) if key in VARIED else name for key, name in names.items()}
