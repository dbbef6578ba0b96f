"""Where a model's checkpoint is on this machine, after fetching or converting it if need be."""

import os
from pathlib import Path

from radio.models.config import family_of
from radio.models.spec import HubSource, ModelSpec, RandomSource, TrainedSource, WheelSource
from radio.runtime.errors import RadioError
from radio.runtime.wheel import REPOSITORY


def results_dir() -> Path:
    """Folder of the workflow's outputs: `$RADIO_RESULTS`, else `results` in the repository."""
    return Path(os.environ.get("RADIO_RESULTS") or REPOSITORY / "results")


def own_checkpoint(name: str) -> Path:
    """Where the workflow leaves the model `name` that it makes itself."""
    return results_dir() / name / "checkpoint"


def fetch_checkpoint(spec: ModelSpec) -> Path:
    """Directory with the checkpoint of `spec`; a local `path` wins over the source.

    Raises:
        RadioError: it is not there, cannot be fetched, or is of another family than `spec` says.
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
    """Dispatch on where the checkpoint comes from."""
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
