"""Our values for the paper's tables: their evaluations, or why they are missing."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from omegaconf import OmegaConf

from radio.report.downstream import build_downstream_table, task_metrics
from radio.report.experiment import paper_tables
from radio.report.labels import task_set
from radio.report.paper import PaperRowSelector, PaperTable, load_paper_table
from radio.report.reproduction.cells import value_columns
from radio.report.reproduction.ledger import Comparison, OurValue
from radio.report.table import build_table, cell_of, repetitions
from radio.resources.machine_limits import why_too_large
from radio.runtime.errors import RadioError
from radio.runtime.unavailable import why_unavailable
from radio.workflow.graph import JobGraph
from radio.workflow.jobs import ARTIFACTS, Job

BENCH = "table_kernel"
SPEEDUP = "speedup_vs_fp16_cublas"
KERNEL_BITS = 3.0  # the only depth that the paper timed

PaperPlace = tuple[int, str]  # row and column of a file of the paper
PlacedValues = list[tuple[PaperPlace, OurValue]]


def comparison_of(plan: JobGraph, spec: Mapping[str, Any]) -> Comparison | None:
    """Return our values for one of the `tables` in config/ledger.yaml; None without an experiment.

    Raises:
        RadioError: an experiment does not exist, or is compared with another table of the paper.
    """
    if BENCH in spec["experiments"]:
        return _kernel_values(plan, spec)
    comparisons = [_experiment_values(plan, name, spec) for name in spec["experiments"]]
    if not comparisons:
        return None
    ours: dict[PaperPlace, list[OurValue]] = {}
    for _, placed in comparisons:
        for place, value in placed:
            ours.setdefault(place, []).append(value)
    return Comparison(comparisons[0][0], ours, spec.get("device", ""))


def _experiment_values(
    plan: JobGraph, name: str, spec: Mapping[str, Any]
) -> tuple[PaperTable, PlacedValues]:
    """Return the paper's table that an experiment is compared with, and our values for it."""
    values = _task_values if plan.experiment(name).tasks else _text_values
    return values(plan, name, spec)


def _text_values(
    plan: JobGraph, name: str, spec: Mapping[str, Any]
) -> tuple[PaperTable, PlacedValues]:
    """Return our values for a table of perplexities."""
    experiment, default = _content(plan, name)
    text = spec["text"]
    if "paper" in spec:
        experiment["paper"] = {text: {"file": spec["file"], **spec["paper"]}}
    source = experiment.get("paper", default).get(text, {})
    if source.get("file") != spec["file"]:
        raise RadioError(
            f"experiment {name} compares {text} with {source.get('file')}, and config/ledger.yaml "
            f"with {spec['file']}: give both the same file"
        )
    paper = paper_tables(experiment, default, plan.config / "paper")[text]
    (column,) = value_columns(pd.read_csv(plan.config / "paper" / spec["file"]))
    jobs = {
        Path(job.manifest): job
        for job in plan.experiment(name).evaluations()
        if dict(job.names)["data"] == text
    }
    table = build_table(list(jobs), {text: paper})
    placed: PlacedValues = []
    groups = repetitions(jobs).values()
    for row, paths in zip(table.to_dict("records"), groups, strict=True):
        ours = _our_value(plan, name, row, paper.quantity, [jobs[path] for path in paths])
        placed += [((number, column), ours) for number in _paper_rows(paper, ours)]
    return paper, placed


def _task_values(
    plan: JobGraph, name: str, spec: Mapping[str, Any]
) -> tuple[PaperTable, PlacedValues]:
    """Return our values for a table of scores."""
    experiment, default = _content(plan, name)
    jobs = {Path(job.manifest): job for job in plan.experiment(name).evaluations()}
    metrics = {tasks: task_metrics(task_set(tasks)) for tasks in plan.experiment(name).tasks}
    papers = paper_tables(experiment, default, plan.config / "paper")
    table = build_downstream_table(list(jobs), metrics, experiment["baseline"], papers)
    job_of = {
        (cell.model, cell.method, cell.rate_bits): jobs[path]
        for path in jobs
        for cell in [cell_of(path)]
    }
    sources = {
        task: source
        for task, source in experiment["paper"].items()
        if source["file"] == spec["file"]
    }
    placed: PlacedValues = []
    for row in table[table.task.isin(list(sources))].to_dict("records"):
        task = str(row["task"])
        job = job_of[row["model"], row["method"], row["rate_bits"]]
        ours = _our_value(plan, name, row, papers[task].quantity, [job])
        column = sources[task]["percent"]
        placed += [((number, column), ours) for number in _paper_rows(papers[task], ours)]
    return papers[next(iter(sources))], placed


def _content(plan: JobGraph, name: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return an experiment's YAML, and the default of its key `paper`."""
    config = plan.compose("table", experiment=name)
    experiment: Any = OmegaConf.to_container(config.experiment)
    default: Any = OmegaConf.to_container(config.paper)
    return experiment, default


def _paper_rows(paper: PaperTable, ours: OurValue) -> list[int]:
    """Return the rows of the paper's file that belong to a value of ours."""
    values = paper.values
    same = (values.model == ours.model) & (values.method == ours.method)
    return [int(row) for row in values.row[same & (values.bits == ours.rate_bits)]]


def _our_value(
    plan: JobGraph, name: str, row: Mapping[Any, Any], quantity: str, jobs: Iterable[Job]
) -> OurValue:
    """Return the value of one row of our table."""
    value = _number(row[quantity])
    model = str(row["model"])
    manifests = [Path(source.manifest) for job in jobs for source in plan.behind(job) if value]
    seeds = _number(row.get("seeds"))
    return OurValue(
        experiment=name,
        model=model,
        method=str(row["method"]),
        rate_bits=float(row["rate_bits"]) if pd.notna(row["rate_bits"]) else 0.0,
        value=value,
        spread=_number(row.get(f"{quantity}_spread")),
        seeds=1 if seeds is None else int(seeds),
        bpw=_number(row["bpw"]),
        protocol=_word(row.get("protocol")),
        wall_s=_number(row["wall_s"]),
        note=_why_not(plan, name, model) if value is None else str(row["note"]),
        manifests=list(dict.fromkeys(manifests)),
    )


def _why_not(plan: JobGraph, experiment: str, model: str) -> str:
    """Return why the cells of a model were not run."""
    reason = why_unavailable(Path("results", model))
    too_large = why_too_large(model, plan.config / "paper/models.csv")
    if reason or too_large:
        return f"not run: {reason or too_large}"
    source = plan.compose("prepare", model=model).model.source
    weights = f", with weights of {source.repo_id} from the hub" if source.kind == "hub" else ""
    return f"not run: `snakemake results/{experiment}.csv` computes it{weights}"


def _kernel_values(plan: JobGraph, spec: Mapping[str, Any]) -> Comparison:
    """Return the measured ratios of the benchmark of matrix products."""
    file = plan.config / "paper" / spec["file"]
    names = {
        (row.embedding_dim, row.matrix): f"packed {row.matrix}, E={row.embedding_dim}"
        for row in pd.read_csv(file).itertuples()
    }
    selectors = [
        PaperRowSelector(name, KERNEL_BITS, {"embedding_dim": dim, "matrix": matrix})
        for (dim, matrix), name in names.items()
    ]
    paper = load_paper_table(file, "*", SPEEDUP, model="", bits=KERNEL_BITS, selectors=selectors)
    artifact = Path(ARTIFACTS["bench"])
    ours: dict[PaperPlace, list[OurValue]] = {}
    for row, name in zip(paper.values.to_dict("records"), names.values(), strict=True):
        value, note = _speedup(artifact, row)
        manifests = [] if value is None else [artifact.with_suffix(".json")]
        ours[row["row"], SPEEDUP] = [
            OurValue(BENCH, "", name, KERNEL_BITS, value, note=note, manifests=manifests),
        ]
    return Comparison(paper, ours, spec.get("device", ""))


def _speedup(artifact: Path, row: Mapping[Any, Any]) -> tuple[float | None, str]:
    """Return the measured ratio of a matrix, or None and why it is missing."""
    if row["matrix"] == "overall":
        return None, "not run: the paper does not state what it averages over"
    if not artifact.with_suffix(".json").exists():  # a table without a manifest is from git
        return None, f"not run: `snakemake --force {artifact}` computes it"
    table = pd.read_csv(artifact)
    same = (table.embedding_dim == row["embedding_dim"]) & (table.matrix == row["matrix"])
    values = table[same & (table.asked_bits == KERNEL_BITS)].speedup_fp16
    if not len(values):
        return None, "not run: the matrix was too large for the machine"
    return float(values.iloc[0]), ""


def _word(value: Any) -> str:
    return "" if value is None or pd.isna(value) else str(value)


def _number(value: Any) -> float | None:
    return None if value is None or pd.isna(value) else float(value)
