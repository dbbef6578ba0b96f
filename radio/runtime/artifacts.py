"""Check the artifacts that a job reads: right kind, one model, before the work starts.

A manifest holds the digest of its artifact as `identity`. Its `made_from` lists the model and the
artifacts that it was made from.
"""

import hashlib
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from radio.runtime.errors import RadioError
from radio.runtime.files import read_json
from radio.runtime.outputs import manifest_path

log = logging.getLogger(__name__)

# steps whose artifact each key under `artifacts` accepts
MADE_BY = {
    "model": ("prepare",),
    "tokens": ("tokenize",),
    "reference": ("reference",),
    "statistics": ("calibrate", "refine"),
    "codebook": ("codebook",),
    "distortion": ("distortion",),
    "target": ("target",),
    "allocation": ("allocate",),
    "quantized": ("quantize",),
    "task_items": ("items",),
}
# keys that take a list of paths
LISTS = {("decode", "quantized"), ("bench", "allocation")}
# artifacts fitted to others group by group: all artifacts of a job must be fitted to the same ones
FITTED_TO = ("statistics", "codebook", "distortion")
# fields that must agree between an artifact's model and the job's; tokens depend on the tokenizer
# only
MODEL_FIELDS = {"weights_sha256": "weights", "config_sha256": "config.json"}
TOKENS_FIELDS = {"tokenizer_sha256": "tokenizer"}


@dataclass(frozen=True)
class Artifact:
    """An artifact that a job reads: its key in the configuration, its path and its manifest."""

    key: str
    path: Path
    manifest: Mapping[str, Any]

    @property
    def model(self) -> dict[str, Any] | None:
        """Name and digests of the artifact's model; None if an older radio wrote its manifest."""
        if self.key != "model":
            model = self.manifest.get("made_from", {}).get("model")
            return dict(model) if model else None
        measured = self.manifest["measured"]
        digests = {"weights_sha256": measured.get("sha256")}
        digests |= {key: measured.get(key) for key in ("config_sha256", "tokenizer_sha256")}
        name = self.manifest.get("config", {}).get("model", {}).get("name")
        return {"name": name, **digests} if name else None

    def __str__(self) -> str:
        return f"artifacts.{self.key}={self.path}"


def read_manifest(path: Path) -> dict[str, Any]:
    """Read a manifest, given its own path or the path of its artifact.

    Raises:
        RadioError: the file is absent, not JSON, or not a manifest.
    """
    path = manifest_path(path)
    content = read_json(path)
    if not isinstance(content.get("measured"), dict):
        raise RadioError(f"{path} is not a manifest of radio: delete it and run its step again")
    return content


def check_artifacts(step: str, config: Mapping[str, Any]) -> dict[str, Any]:
    """Check all artifacts that a job reads; return the `made_from` of the job's manifest.

    Absent files are ignored here: the step reports them when it opens them.

    Args:
        step: name of the step.
        config: its resolved configuration.

    Raises:
        RadioError: an artifact has the wrong kind for its key, does not match its manifest, or
            belongs to another model or to other artifacts than the rest.
    """
    artifacts = list(_opened(step, config.get("artifacts") or {}))
    model = next((each.model for each in artifacts if each.key == "model"), None)
    for each in artifacts:
        if each.key == "task_items":
            continue
        if each.model is None:
            log.warning("%s does not name its model: run its step again", each)
        elif each.key == "model":
            _check_chosen(each, config.get("model"))
        elif model is None:
            model = each.model
            _check_name(each, model["name"], config.get("model"))
        else:
            _check_same_model(each, each.model, model)
    _check_fitted(artifacts)
    identities = {
        each.key: {"path": str(each.path), "identity": each.manifest.get("identity")}
        for each in artifacts
        if (step, each.key) not in LISTS
    }
    return {"model": model, "artifacts": identities}


def required_artifact(cfg: DictConfig, name: str) -> Path:
    """Return the path of an artifact that the step or its method requires, `~` expanded.

    Raises:
        RadioError: the path is not given.
    """
    path = optional_artifact(cfg, name)
    if path is None:
        makers = " or ".join(f"`radio {step}`" for step in MADE_BY[name])
        raise RadioError(
            f"artifacts.{name} is missing: make it with {makers} and give its path, or let "
            "snakemake do both"
        )
    return path


def optional_artifact(cfg: DictConfig, name: str) -> Path | None:
    """Return the path of an optional artifact, `~` expanded, or None."""
    path = cfg.artifacts.get(name)
    return None if path is None else Path(path).expanduser()


def content_digest(path: Path) -> str:
    """Return the SHA-256 of a file; for a safetensors file, of its size and header.

    The header of a file written by `save_tensors` holds the CRC-32 of each tensor, which is
    verified on reading.
    """
    with path.open("rb") as file:
        if path.suffix != ".safetensors":
            return hashlib.file_digest(file, "sha256").hexdigest()
        length = file.read(8)
        header = file.read(int.from_bytes(length, "little") % 2**31)
    return hashlib.sha256(b"%d" % path.stat().st_size + length + header).hexdigest()


def _opened(step: str, given: Mapping[str, Any]) -> Iterator[Artifact]:
    """Yield the artifacts that are given and exist, with their manifests."""
    for key in MADE_BY:
        value = given.get(key)
        is_list = (step, key) in LISTS
        if is_list != isinstance(value, list) and value is not None:
            kind = "a list of paths" if is_list else "the path"
            raise RadioError(f"artifacts.{key}={value!r} must be {kind} {_of_what(key)}")
        for each in value if isinstance(value, list) else [value]:
            artifact = None if each is None else _open(key, each)
            if artifact is not None:
                yield artifact


def _open(key: str, value: Any) -> Artifact | None:
    """Open an artifact's manifest and verify the artifact; None if the file does not exist."""
    if not isinstance(value, str) or not value or "\0" in value:
        raise RadioError(f"artifacts.{key}={value!r} is not a path: give that {_of_what(key)}")
    path, named = Path(value).expanduser(), f"artifacts.{key}={value}"
    try:
        if not path.exists():
            return None
        if not path.is_file():
            raise RadioError(f"{named} is not a file: give that {_of_what(key)}")
        if not manifest_path(path).is_file():
            raise RadioError(
                f"{named} has no manifest {manifest_path(path)}: give both files {_of_what(key)}"
            )
        manifest = read_manifest(path)
        if manifest.get("step", MADE_BY[key][0]) not in MADE_BY[key]:
            raise RadioError(
                f"{named} is an artifact of radio {manifest['step']}: give that {_of_what(key)}"
            )
        identity = manifest.get("identity")
        if identity is not None and identity != content_digest(path):
            raise RadioError(
                f"{named} is not the file that {manifest_path(path)} describes: run `radio "
                f"{MADE_BY[key][0]}` again"
            )
    except (OSError, ValueError) as error:
        raise RadioError(f"{named} cannot be read ({error}): give another path") from error
    return Artifact(key, path, manifest)


def _of_what(key: str) -> str:
    return "of " + " or ".join(f"`radio {step}`" for step in MADE_BY[key])


def _check_chosen(prepared: Artifact, model: Mapping[str, Any] | None) -> None:
    """Refuse a configured model that differs from the one that `radio prepare` recorded."""
    made = prepared.manifest.get("config", {}).get("model", {})
    if model is None or not made:
        return
    _check_name(prepared, made.get("name"), model)
    path, chosen = prepared.manifest["measured"].get("path"), model.get("path")
    if chosen is not None and _real(chosen) != _real(path):
        raise RadioError(
            f"model.path={chosen} is not the checkpoint of {prepared} ({path}): give that path, "
            "or run `radio prepare` for yours"
        )
    if chosen is None and made.get("path") is not None:
        raise RadioError(
            f"{prepared} is of a checkpoint at model.path={made['path']}: add that to the command, "
            "or run `radio prepare` without it"
        )
    if made.get("source") != model.get("source"):
        raise RadioError(
            f"model.source is {model.get('source')}, but was {made.get('source')} for {prepared}: "
            "run `radio prepare` again"
        )


def _check_name(artifact: Artifact, name: str | None, model: Mapping[str, Any] | None) -> None:
    """Refuse a model name that differs from that of the artifact's model."""
    if model is not None and name not in (None, model.get("name")):
        raise RadioError(
            f"model={model.get('name')} is not the model of {artifact}, which is {name}: set "
            f"model={name}, or give an artifact of {model.get('name')}"
        )


def _check_same_model(artifact: Artifact, its: Mapping[str, Any], model: Mapping[str, Any]) -> None:
    """Refuse an artifact that was made from another model or tokenizer than the job's."""
    for field, noun in (TOKENS_FIELDS if artifact.key == "tokens" else MODEL_FIELDS).items():
        one, other = its.get(field), model.get(field)
        if one and other and one != other:
            raise RadioError(
                f"{artifact} was made from model {its['name']} with {noun} {one[:12]}, and this "
                f"job is of model {model['name']} with {noun} {other[:12]}: run `radio "
                f"{artifact.manifest['step']}` for that model, or give its artifact"
            )


def _check_fitted(artifacts: Sequence[Artifact]) -> None:
    """Refuse an artifact that was fitted to other statistics, codebook or distortion."""
    identities = {each.key: each for each in artifacts if each.key in FITTED_TO}
    for each in artifacts:
        for key, source in each.manifest.get("made_from", {}).get("artifacts", {}).items():
            given = identities.get(key)
            if given is None or source["identity"] == given.manifest.get("identity"):
                continue
            raise RadioError(
                f"{each} was made from another {key} file ({source['path']}) than {given}: run "
                f"`radio {each.manifest['step']}` with this one, or give that one"
            )


def _real(path: str) -> str:
    return os.path.realpath(os.path.expanduser(path))
