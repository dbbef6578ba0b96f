"""Artifacts with the manifests that the steps would have written."""

from pathlib import Path
from typing import Any

from radio.runtime.files import write_json
from radio.runtime.outputs import manifest_path


def manifest_of(artifact: Path, step: str, **content: Any) -> None:
    """Write the manifest of `artifact` as `step` would have."""
    made = {"step": step, "artifact": str(artifact), "wall_s": 1.0, "measured": {}}
    write_json(manifest_path(artifact), {**made, **content})
