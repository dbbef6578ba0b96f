"""Our side of the paper's tables: the evaluations behind them, or why there are none."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from omegaconf import OmegaConf

from radio.experiments.fitting import why_too_large
from radio.experiments.jobs import ARTIFACTS, Job
from radio.experiments.plan import Plan
from radio.report.downstream import asked_of, build_downstream_table
from radio.report.experiment import paper_tables
from radio.report.ledger.cells import value_columns
from radio.report.ledger.ledger import Ours, Side
from radio.report.names import task_set
from radio.report.paper import PaperTable, Study, load_paper_table
from radio.report.table import build_table, cell_of, repetitions
from radio.runtime.absence import why_absent
from radio.runtime.errors import RadioError

BENCH = "table_kernel"
SPEEDUP = "speedup_vs_fp16_cublas"
KERNEL_BITS = 3.0  # the only depth that the paper timed

Place = tuple[int, str]  # row and column of a file of the paper
Beside = tuple[PaperTable, list[tuple[Place, Ours]]]


def side_of(plan: Plan, spec: Mapping[str, Any]) -> Side | None:
    """Our side of one of the `tables` in config/ledger.yaml; None where no experiment has it.

    Raises:
        RadioError: an experiment does not exist, or has no such table of the paper.
    """
    if BENCH in spec["experiments"]:
        return _of_bench(plan, spec)
    found = [_of_experiment(plan, name, spec) for name in spec["experiments"]]
    if not found:
        return None
    ours: dict[Place, list[Ours]] = {}
    for _, rows in found:
        for place, each in rows:
            ours.setdefault(place, []).append(each)
    return Side(found[0][0], ours, spec.get("device", ""))


def _of_experiment(plan: Plan, name: str, spec: Mapping[str, Any]) -> Beside:
    """The paper's table beside an experiment, and what of ours stands where in its file."""
    of = _of_tasks if plan.experiment(name).tasks else _of_texts
    return of(plan, name, spec)


def _of_texts(plan: Plan, name: str, spec: Mapping[str, Any]) -> Beside:
    """Rows of a table of perplexities."""
    experiment, default = _content(plan, name)
    text = spec["text"]
    if "paper" in spec:
        experiment["paper"] = {text: {"file": spec["file"], **spec["paper"]}}
    source = experiment.get("paper", default).get(text, {})
    if source.get("file") != spec["file"]:
        raise RadioError(
            f"experiment {name} has {source.get('file')} beside {text}, and config/ledger.yaml "
            f"has {spec['file']}: make them agree"
        )
    paper = paper_tables(experiment, default, plan.config / "paper")[text]
    (column,) = value_columns(pd.read_csv(plan.config / "paper" / spec["file"]))
    jobs = {
        Path(each.manifest): each
        for each in plan.experiment(name).evaluations()
        if dict(each.names)["data"] == text
    }
    groups = repetitions(jobs).values()
    found = []
    table = build_table(list(jobs), {text: paper})
    for row, paths in zip(table.to_dict("records"), groups, strict=True):
        ours = _ours(plan, name, row, paper.quantity, [jobs[path] for path in paths])
        found += [((number, column), ours) for number in _rows_of(paper, ours)]
    return paper, found


def _of_tasks(plan: Plan, name: str, spec: Mapping[str, Any]) -> Beside:
    """Rows of a table of scores."""
    experiment, default = _content(plan, name)
    jobs = {Path(each.manifest): each for each in plan.experiment(name).evaluations()}
    sets = {each: asked_of(task_set(each)) for each in plan.experiment(name).tasks}
    papers = paper_tables(experiment, default, plan.config / "paper")
    table = build_downstream_table(list(jobs), sets, experiment["baseline"], papers)
    behind = {
        (cell.model, cell.method, cell.rate_bits): jobs[path]
        for path in jobs
        for cell in [cell_of(path)]
    }
    sources = {
        task: source
        for task, source in experiment["paper"].items()
        if source["file"] == spec["file"]
    }
    found = []
    for row in table[table.task.isin(list(sources))].to_dict("records"):
        task = str(row["task"])
        made = [behind[row["model"], row["method"], row["rate_bits"]]]
        ours = _ours(plan, name, row, papers[task].quantity, made)
        place = sources[task]["percent"]
        found += [((number, place), ours) for number in _rows_of(papers[task], ours)]
    return papers[next(iter(sources))], found


def _content(plan: Plan, name: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """An experiment's YAML, and which tables of the paper stand beside one that names none."""
    config = plan.compose("table", experiment=name)
    experiment: Any = OmegaConf.to_container(config.experiment)
    default: Any = OmegaConf.to_container(config.paper)
    return experiment, default


def _rows_of(paper: PaperTable, ours: Ours) -> list[int]:
    """Rows of the paper's file that a value of ours stands beside."""
    values = paper.values
    same = (values.model == ours.model) & (values.method == ours.method)
    return [int(row) for row in values.row[same & (values.bits == ours.rate_bits)]]


def _ours(plan: Plan, name: str, row: Mapping[Any, Any], quantity: str, jobs: list[Job]) -> Ours:
    """A row of a table of ours as one side of a cell."""
    value = _number(row[quantity])
    model = str(row["model"])
    behind = [Path(made.manifest) for each in jobs for made in plan.behind(each) if value]
    seeds = _number(row.get("seeds"))
    return Ours(
        experiment=name,
        model=model,
        method=str(row["method"]),
        rate_bits=float(row["rate_bits"]) if pd.notna(row["rate_bits"]) else 0.0,
        value=value,
        spread=_number(row.get(f"{quantity}_spread")),
        seeds=1 if seeds is None else int(seeds),
        bits_true=_number(row["bits_true"]),
        protocol=_word(row.get("protocol")),
        wall_s=_number(row["wall_s"]),
        note=_why_not(plan, name, model) if value is None else str(row["note"]),
        manifests=list(dict.fromkeys(behind)),
    )


def _why_not(plan: Plan, experiment: str, model: str) -> str:
    """Why a cell of a model was not run."""
    reason = why_absent(Path("results", model))
    too_large = why_too_large(model, plan.config / "paper/models.csv")
    if reason or too_large:
        return f"not run: {reason or too_large}"
    source = plan.compose("prepare", model=model).model.source
    weights = f", with weights of {source.repo_id} from the hub" if source.kind == "hub" else ""
    return f"not run: `snakemake results/{experiment}.csv` makes it{weights}"


def _of_bench(plan: Plan, spec: Mapping[str, Any]) -> Side:
    """The benchmark's ratios beside the paper's."""
    file = plan.config / "paper" / spec["file"]
    asked = pd.read_csv(file)
    names = {
        (row.embedding_dim, row.matrix): f"packed {row.matrix}, E={row.embedding_dim}"
        for row in asked.itertuples()
    }
    studies = [
        Study(name, KERNEL_BITS, {"embedding_dim": dim, "matrix": matrix})
        for (dim, matrix), name in names.items()
    ]
    paper = load_paper_table(file, "*", SPEEDUP, model="", bits=KERNEL_BITS, studies=studies)
    artifact = Path(ARTIFACTS["bench"])
    ours: dict[Place, list[Ours]] = {}
    for row, name in zip(paper.values.to_dict("records"), names.values(), strict=True):
        value, note = _speedup(artifact, row)
        made = [] if value is None else [artifact.with_suffix(".json")]
        ours[row["row"], SPEEDUP] = [
            Ours(BENCH, "", name, KERNEL_BITS, value, note=note, manifests=made),
        ]
    return Side(paper, ours, spec.get("device", ""))


def _speedup(artifact: Path, row: Mapping[Any, Any]) -> tuple[float | None, str]:
    """The measured ratio of a matrix, or why there is none."""
    if row["matrix"] == "overall":
        return None, "not run: the paper does not say over what it averages"
    if not artifact.with_suffix(".json").exists():  # a table without came with git
        return None, f"not run: `snakemake --force {artifact}` makes it"
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
