"""Experiments: a YAML file and the table cells that it defines."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from omegaconf import OmegaConf

from radio.rate import at_bpw, rate_text
from radio.runtime.errors import RadioError
from radio.workflow.config import ConfigResolver
from radio.workflow.jobs import Job, job
from radio.workflow.variants import canonical, join, split


@dataclass(frozen=True)
class Experiment:
    """A table: the product of its models, texts or sets of tasks, (method, rate) cells and seeds.

    Attributes:
        cells: methods and their rates; with several seeds, a method occurs once per seed.
        stages: steps behind a quantized model whose costs the table lists, instead of accuracy.
    """

    name: str
    title: str
    models: tuple[str, ...]
    data: tuple[str, ...]
    cells: tuple[tuple[str, str], ...]
    tasks: tuple[str, ...] = ()
    stages: tuple[str, ...] = ()

    def evaluations(self) -> list[Job]:
        """Return the evaluations of the table, or its quantized models, in row order."""
        measured = [("quantize", dict[str, str]())] if self.stages else []
        measured += [("evaluate", {"data": data}) for data in self.data]
        measured += [("downstream", {"tasks": tasks}) for tasks in self.tasks]
        return [
            job(step, {"model": model, "method": method, "rate": rate, **on})
            for model in self.models
            for step, on in measured
            for method, rate in self.cells
        ]


@cache
def read_experiment(of: ConfigResolver, name: str) -> Experiment:
    """Read `config/experiment/NAME.yaml`.

    A cell without `rates` has those of the experiment. With `match: bpw`, numeric rates are bits
    per weight, everything counted: each method is configured to use at most this many.

    Raises:
        RadioError: the file does not exist or lacks a key, or a rate or `match` is invalid.
    """
    content = OmegaConf.to_container(of.compose("table", experiment=name).experiment)
    assert isinstance(content, dict)
    try:
        cells = [
            (seeded, rate)
            for cell in content["cells"]
            for rate in _rates(content, cell)
            for seeded in _seeded(of, cell["method"], content.get("seeds", []))
        ]
        return Experiment(
            name=name,
            title=content["title"],
            models=tuple(content["models"]),
            data=tuple(content["data"] if not {"tasks", "stages"} & set(content) else ()),
            tasks=tuple(content.get("tasks", ())),
            stages=tuple(content.get("stages", ())),
            cells=tuple(cells),
        )
    except (KeyError, TypeError) as error:
        raise RadioError(
            f"experiment {name} is not whole ({error!r}): its YAML needs title, models, data (or "
            "tasks or stages) and cells, each cell with a method, and rates there or for all cells"
        ) from error


def _rates(content: Mapping[Any, Any], cell: Mapping[Any, Any]) -> list[str]:
    """Return a cell's rates as they are written in paths."""
    match = content.get("match")
    if match not in (None, "bpw"):
        raise RadioError(
            f"experiment.match={match} is no rate to compare methods at: set bpw, or leave it out"
        )
    texts = [rate_text(rate) for rate in (cell if "rates" in cell else content)["rates"]]
    return texts if match is None else [at_bpw(text) for text in texts]


def _seeded(of: ConfigResolver, method: str, seeds: Sequence[int]) -> list[str]:
    """Return the method's variant for each seed; methods without calibration use no seed.

    Raises:
        RadioError: the cell sets a seed, and the experiment has `seeds`.
    """
    base, settings = split(method)
    if not seeds or not of.method(method).needs:
        return [canonical(method)]
    if "seed" in settings:
        raise RadioError(f"cell {method} has a seed and the experiment has seeds: leave one out")
    return [canonical(join(base, settings | {"seed": str(seed)})) for seed in seeds]
