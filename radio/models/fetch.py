"""Locate a model's checkpoint on this machine; download or convert it if necessary."""

import os
from pathlib import Path

from radio.models.config import family_of
from radio.models.spec import HubSource, ModelSpec, RandomSource, TrainedSource, WheelSource
from radio.runtime.errors import RadioError
from radio.runtime.wheel import REPOSITORY


def results_dir() -> Path:
    """Return the folder of workflow outputs: `$RADIO_RESULTS`, or `results` in the repository."""
    return Path(os.environ.get("RADIO_RESULTS") or REPOSITORY / "results")


def own_checkpoint(name: str) -> Path:
    """Return the path of a model `name` that the workflow itself makes."""
    return results_dir() / name / "checkpoint"


def fetch_checkpoint(spec: ModelSpec) -> Path:
    """Return the directory of the checkpoint of `spec`; a local `path` overrides the source.

    Raises:
        RadioError: it is absent, cannot be downloaded, or has another family than `spec` says.
    """
    checkpoint = _materialise(spec)
    family = family_of(checkpoint)
    if spec.family not in (None, family):
        raise RadioError(
            f"{checkpoint} is of family {family!r}, but model {spec.name!r} says {spec.family!r}: "
            f"choose model=local, or give model.family={family}"
        )
    return checkpoint


def _materialise(spec: ModelSpec) -> Path:
    """Download, convert or find the checkpoint, depending on its source."""
    if spec.path is not None:
        if not spec.path.is_dir():
            raise RadioError(f"model.path={spec.path} is not a directory: give a checkpoint's")
        return spec.path.resolve()
    source = spec.source
    if isinstance(source, HubSource):
        from radio.models.hub import snapshot

        return snapshot(source.repo_id, source.revision)
    if isinstance(source, WheelSource):
        from radio.models.gguf import converted

        return converted(source)
    assert isinstance(source, TrainedSource | RandomSource)
    checkpoint = own_checkpoint(spec.name)
    if not checkpoint.is_dir():
        raise RadioError(
            f"{spec.name} is not made yet ({checkpoint} is absent): run `radio prepare "
            f"model={spec.name} out={checkpoint.parent / 'model.json'}`"
        )
    return checkpoint
