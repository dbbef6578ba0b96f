"""Schema of each step's configuration: its keys and the kinds of their values.

There is one dataclass per config group and per step. Groups that classes describe refer to these
classes: the fields of a model's YAML are those of `ModelSpec`, and a mapping with a `_target_` has
the arguments of its target, in this project or outside (`$RADIO_CONFIG_DIRS`). No other keys are
accepted.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, get_type_hints

from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import (
    InterpolationKeyError,
    InterpolationToMissingValueError,
    OmegaConfBaseException,
)

from radio.runtime.check import ABSENT, check
from radio.runtime.errors import RadioError
from radio.runtime.kinds import (
    Built,
    Count,
    Dtype,
    Fields,
    File,
    GroupRows,
    Positive,
    Rule,
    Seed,
    Solver,
    Word,
    above,
    at_least,
    matching,
    one_of,
)

Target = Annotated[Mapping[str, Any], Built()]
Model = Annotated[Mapping[str, Any], Fields("radio.models.spec.ModelSpec")]
# rates above the largest code depth are float16's
RateBits = Annotated[float, above(0, 16)]
Split = Annotated[str, one_of("calibration", "validation", "test")]
# threads of one job; a larger number is a mistake, and too many threads fail to start
Threads = Annotated[int, at_least(1, 1024)]
Device = Annotated[
    str, matching(r"auto|cpu|cuda(:\d+)?|spread", "auto, cpu, cuda, cuda:N or spread")
]
# settings that environment variables set unless the command line does (config/device.yaml,
# config/memory.yaml)
VARIABLES = {
    "device": "RADIO_DEVICE",
    "streaming": "RADIO_STREAMING",
    "memory_gb": "RADIO_MEMORY_GB",
}
PAIR = Rule("of two, rows and columns", lambda value: len(value) == 2)


@dataclass(kw_only=True)
class Wandb:
    """W&B logging of a job."""

    mode: Annotated[str, one_of("auto", "online", "offline", "disabled")]
    project: Word
    entity: Word | None


@dataclass(kw_only=True)
class Inputs:
    """The calibration text of a method that `needs` inputs."""

    sequences: Count
    dtype: Dtype


@dataclass(kw_only=True)
class Method:
    """A method and the artifacts that it needs."""

    name: Word
    quantizer: Target
    needs: Sequence[Annotated[str, one_of("statistics", "allocation", "codebook", "inputs")]]
    label: Word | None = None
    calibration: Word | None = None
    refinement: Word | None = None
    solver: Solver | None = None
    use_measured_distortion: bool = False
    inputs: Inputs | None = None


@dataclass(kw_only=True)
class Estimated:
    """How statistics are measured: in one pass, or in the iterations of the paper's loop."""

    name: Word
    estimator: Target


@dataclass(kw_only=True)
class Task:
    """A downstream task; `definition` is lm-eval's."""

    label: Word
    metrics: Sequence[Word]
    definition: Mapping[str, Any] = field(default_factory=dict)
    filter: Word = "none"


@dataclass(kw_only=True)
class Average:
    """A mean over tasks."""

    label: Word
    of: Sequence[Word]


@dataclass(kw_only=True)
class Tasks:
    """A set of downstream tasks, and the source of items that lm-eval does not provide."""

    name: Word
    items_from: Target | None
    tasks: Mapping[str, Task]
    averages: Mapping[str, Average]


@dataclass(kw_only=True)
class Cell:
    """A method at some rates in an experiment; `paper` are columns of the paper's table."""

    method: Word
    rates: Sequence[RateBits | Word] = ()
    label: Word | None = None
    paper: Mapping[str, Any] | Sequence[Any] | None = None


@dataclass(kw_only=True)
class Times:
    """The paper's times next to ours."""

    file: File
    method: Word
    device: Word


@dataclass(kw_only=True)
class Experiment:
    """A table: models, texts, tasks or stages, and the methods to compare."""

    name: Word
    title: Word
    models: Sequence[Word]
    cells: Sequence[Cell]
    data: Sequence[Word] = ()
    tasks: Sequence[Word] = ()
    stages: Sequence[Word] = ()
    rates: Sequence[RateBits | Word] = ()
    seeds: Sequence[Seed] = ()
    match: Annotated[str, one_of("bpw")] | None = None
    total: Sequence[Word] = ()
    times: Times | None = None
    baseline: Word | None = None
    paper: Mapping[str, Mapping[str, Any]] | None = None


@dataclass(kw_only=True)
class Figure:
    """A figure: the jobs that it shows and the function that draws it."""

    name: Word
    inputs: Sequence[Mapping[str, Any]]
    draw: Target


@dataclass(kw_only=True)
class Targets:
    """Targets that may replace a mean depth; `radio.rate` parses the amounts."""

    bpw: float | Word | None
    size: float | Word | None
    kl: float | Word | None
    perplexity_increase: float | Word | None


@dataclass(kw_only=True)
class Step:
    """Settings of every step."""

    out: File
    seed: Seed
    threads: Threads | None
    wandb: Wandb


@dataclass(kw_only=True)
class OnDevice:
    """A step that computes on the CPU or on GPUs."""

    device: Device


@dataclass(kw_only=True)
class Held:
    """A step that may read a model block by block."""

    streaming: bool | Literal["auto"]
    memory_gb: Positive | None


@dataclass(kw_only=True)
class Rated:
    """A step that takes a mean depth or a target."""

    rate_bits: RateBits | None
    target: Targets


@dataclass(kw_only=True)
class OfModel:
    """A step for one model."""

    model: Model


@dataclass(kw_only=True)
class OfMethod:
    """A step for one method."""

    method: Method


@dataclass(kw_only=True)
class Prepare(Step, OfModel):
    """`radio prepare`."""


@dataclass(kw_only=True)
class ModelArtifact:
    """The prepared model."""

    model: File


@dataclass(kw_only=True)
class TextArtifacts(ModelArtifact):
    """The model and a text tokenized for it."""

    tokens: File


@dataclass(kw_only=True)
class Tokenize(Step, OfModel):
    """`radio tokenize`."""

    data: Target
    artifacts: ModelArtifact


@dataclass(kw_only=True)
class Items(Step):
    """`radio items`."""

    tasks: Tasks


@dataclass(kw_only=True)
class Reference(Step, OnDevice, Held, OfModel):
    """`radio reference`."""

    split: Split
    anchor_tolerance: Positive | None
    dtype: Dtype
    artifacts: TextArtifacts


@dataclass(kw_only=True)
class Calibrate(Step, OnDevice, Held, OfModel):
    """`radio calibrate`."""

    calibration: Estimated
    activation_cache: Annotated[str, one_of("memory", "disk")]
    artifacts: TextArtifacts


@dataclass(kw_only=True)
class Refine(Step, OnDevice, Rated, OfModel, OfMethod):
    """`radio refine`."""

    refinement: Estimated
    artifacts: TextArtifacts


@dataclass(kw_only=True)
class StatisticsArtifacts(ModelArtifact):
    """The model and its statistics."""

    statistics: File


@dataclass(kw_only=True)
class Codebook(Step, OnDevice, OfModel):
    """`radio codebook`."""

    artifacts: StatisticsArtifacts


@dataclass(kw_only=True)
class DistortionArtifacts(StatisticsArtifacts):
    """Inputs of the measurement of distortions."""

    codebook: File | None


@dataclass(kw_only=True)
class Distortion(Step, OnDevice, OfModel, OfMethod):
    """`radio distortion`."""

    artifacts: DistortionArtifacts


@dataclass(kw_only=True)
class TargetArtifacts(StatisticsArtifacts):
    """Inputs of the search for a target."""

    tokens: File
    codebook: File | None
    distortion: File | None


@dataclass(kw_only=True)
class TargetStep(Step, OnDevice, Rated, OfModel, OfMethod):
    """`radio target`."""

    validation_blocks: Count
    tolerance: Annotated[float, above(0, 1)]
    dtype: Dtype
    artifacts: TargetArtifacts


@dataclass(kw_only=True)
class AllocateArtifacts:
    """Inputs of the allocation of depths."""

    model: File | None
    statistics: File
    codebook: File | None
    distortion: File | None
    target: File | None


@dataclass(kw_only=True)
class Allocate(Step, Rated, OfModel, OfMethod):
    """`radio allocate`."""

    artifacts: AllocateArtifacts


@dataclass(kw_only=True)
class QuantizeArtifacts(ModelArtifact):
    """Inputs of a method."""

    statistics: File | None
    allocation: File | None
    codebook: File | None
    tokens: File | None


@dataclass(kw_only=True)
class Quantize(Step, OnDevice, Held, Rated, OfModel, OfMethod):
    """`radio quantize`."""

    artifacts: QuantizeArtifacts


@dataclass(kw_only=True)
class EvaluateArtifacts(TextArtifacts):
    """Inputs of an evaluation."""

    reference: File
    quantized: File


@dataclass(kw_only=True)
class Evaluate(Step, OnDevice, Held, OfModel):
    """`radio evaluate`."""

    split: Split
    dtype: Dtype
    artifacts: EvaluateArtifacts


@dataclass(kw_only=True)
class DownstreamArtifacts(ModelArtifact):
    """Inputs of the downstream tasks."""

    quantized: File | None
    task_items: File | None


@dataclass(kw_only=True)
class Downstream(Step, OnDevice, OfModel):
    """`radio downstream`."""

    tasks: Tasks
    batch: Count
    dtype: Dtype
    artifacts: DownstreamArtifacts


@dataclass(kw_only=True)
class TableArtifacts:
    """Manifests of a table's cells."""

    evaluations: Sequence[File]


@dataclass(kw_only=True)
class Table(Step):
    """`radio table`."""

    experiment: Experiment
    paper: Mapping[str, Mapping[str, Any]]
    readme: File | None
    artifacts: TableArtifacts


@dataclass(kw_only=True)
class FigureStep(Step):
    """`radio figure`."""

    figure: Figure
    artifacts: Mapping[str, Sequence[File]]


@dataclass(kw_only=True)
class AllocatedFor:
    """The models and methods whose allocations are benchmarked."""

    model: Word
    method: Word


@dataclass(kw_only=True)
class BenchArtifacts:
    """Allocations whose depths are used."""

    allocation: Sequence[File]


@dataclass(kw_only=True)
class Bench(Step, OnDevice):
    """`radio bench`."""

    allocated_for: AllocatedFor
    embedding_dims: Sequence[Count]
    shapes: Sequence[Annotated[Sequence[Count], PAIR]]
    mean_bits: Sequence[Annotated[float, above(0, 8)]]
    spread_bits: Annotated[float, at_least(0)]
    group_rows: GroupRows
    rounds: Count
    paper: File
    artifacts: BenchArtifacts


@dataclass(kw_only=True)
class PackedBy:
    """The methods whose quantized models generate text."""

    method: Word
    rates: Sequence[RateBits | Word]


@dataclass(kw_only=True)
class DecodeArtifacts(ModelArtifact):
    """Quantized models that generate text."""

    quantized: Sequence[File]


@dataclass(kw_only=True)
class Decode(Step, OfModel):
    """`radio decode`."""

    packed_by: PackedBy
    dtypes: Sequence[Dtype]
    prompt_tokens: Sequence[Count]
    new_tokens: Count
    rounds: Count
    artifacts: DecodeArtifacts


@dataclass(kw_only=True)
class Ledger(Step):
    """`radio ledger`."""

    tables: Mapping[str, Mapping[str, Any]]
    figures: Mapping[str, Mapping[str, Any]]


SCHEMAS: dict[str, type] = {
    "prepare": Prepare,
    "tokenize": Tokenize,
    "items": Items,
    "reference": Reference,
    "calibrate": Calibrate,
    "refine": Refine,
    "codebook": Codebook,
    "distortion": Distortion,
    "target": TargetStep,
    "allocate": Allocate,
    "quantize": Quantize,
    "evaluate": Evaluate,
    "downstream": Downstream,
    "table": Table,
    "figure": FigureStep,
    "bench": Bench,
    "decode": Decode,
    "ledger": Ledger,
}


def check_step(step: str, cfg: DictConfig) -> None:
    """Check the composed configuration of a step; `???` is left to the code that runs the step.

    Raises:
        RadioError: a key is unknown or missing, or a value is not accepted.
    """
    hints = get_type_hints(SCHEMAS[step], include_extras=True)
    for name, variable in VARIABLES.items():
        if name in cfg and OmegaConf.is_interpolation(cfg, name):
            check(_value(cfg, name, variable), hints[name], variable)
    check(plain(cfg), SCHEMAS[step], "")


def plain(node: Any, key: str = "") -> Any:
    """Return a configuration as Python values with interpolations resolved.

    Raises:
        RadioError: an interpolation cannot be resolved, except when its key is undefined.
    """
    if isinstance(node, DictConfig) and not node._is_none() and not node._is_missing():
        above_it = f"{key}." if key else ""
        return {str(name): _value(node, name, f"{above_it}{name!s}") for name in node}
    if isinstance(node, ListConfig) and not node._is_none() and not node._is_missing():
        return [_value(node, index, f"{key}[{index}]") for index in range(len(node))]
    return None if OmegaConf.is_config(node) else node


def _value(node: DictConfig | ListConfig, name: Any, key: str) -> Any:
    """Return one value of a mapping or list."""
    try:
        return ABSENT if OmegaConf.is_missing(node, name) else plain(node[name], key)
    except (InterpolationKeyError, InterpolationToMissingValueError):
        return ABSENT
    except (OmegaConfBaseException, RecursionError, ValueError) as error:
        said = (str(error).splitlines() or [type(error).__name__])[0]
        raise RadioError(f"{key} cannot be resolved ({said}): give a value") from error
