"""State of a resumable job: saved atomically, used only if nothing has changed.

state = StateStore.of_job("calibrate", cfg, out)
kept = state.load()                       # tensors and numbers, or None: start from the beginning
state.save(tensors, {"done": 17})
state.remove()                            # once the result is saved
"""

import hashlib
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig
from torch import Tensor

from radio.runtime.content import checkpoint_digest, sha256_of_files
from radio.runtime.errors import RadioError
from radio.runtime.fingerprint import deciding_settings, step_code_digest
from radio.runtime.manifest import read_manifest, resolved
from radio.runtime.tensors import load_tensors, save_tensors

log = logging.getLogger(__name__)

# seconds between two saves of a job's state
SAVE_EVERY_S = 30.0


def state_key(*parts: object) -> str:
    """Return the SHA-256 of all that decides a job's result, from the `repr` of each part."""
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def job_key(step: str, cfg: DictConfig) -> str:
    """Return the `state_key` of a step: its settings, code, and the content of all its inputs.

    Inputs are the artifacts, and all files of the checkpoint of `artifacts.model` that decide
    results (including embeddings and norms).

    Raises:
        RadioError: an artifact is absent or cannot be read.
    """
    config = resolved(cfg)
    paths = {
        name: Path(path).expanduser()
        for name, path in config["artifacts"].items()
        if path is not None
    }
    model = paths.pop("model")
    try:
        inputs = {name: sha256_of_files([path]) for name, path in paths.items()}
        checkpoint = checkpoint_digest(Path(read_manifest(model)["measured"]["path"]))
    except OSError as error:
        raise RadioError(
            f"{error.filename} cannot be read ({error.strerror}): run the step that makes it"
        ) from error
    code = step_code_digest(step, config)
    return state_key(step, deciding_settings(config), code, inputs, checkpoint)


@dataclass(frozen=True)
class StateStore:
    """Saved progress of a job.

    Attributes:
        path: file of the state.
        key: digest of everything that decides the job's result; a state with another key is not
            used.
    """

    path: Path
    key: str

    @classmethod
    def of_job(cls, step: str, cfg: DictConfig, out: Path) -> "StateStore":
        """Return the store of the job that makes `out`."""
        return cls(state_path(out), job_key(step, cfg))

    def load(self) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        """Return the tensors and numbers saved last, or None if there is no state for this key.

        A state that is damaged or has another key is removed and logged.
        """
        if not self.path.is_file():
            return None
        try:
            tensors, metadata = load_tensors(self.path)
        except (RadioError, OSError) as error:
            self._discard(f"is damaged ({error})")
            return None
        if metadata.get("state_key") != self.key:
            self._discard("is of other settings, inputs or code")
            return None
        return tensors, metadata["content"]

    def save(self, tensors: Mapping[str, Tensor], content: Mapping[str, Any]) -> None:
        """Write tensors and JSON values atomically.

        Raises:
            RadioError: the disk is full.
        """
        save_tensors(self.path, tensors, {"state_key": self.key, "content": content})

    def remove(self) -> None:
        """Remove the state if there is one."""
        self.path.unlink(missing_ok=True)

    def _discard(self, reason: str) -> None:
        log.warning("the saved state %s %s: it is removed and computed again", self.path, reason)
        self.remove()


def state_path(out: Path) -> Path:
    """Return the path of the state of the job that makes `out`.

    >>> state_path(Path("statistics/random-sign.safetensors")).name
    'random-sign.safetensors.partial'
    """
    return out.with_name(f"{out.name}.partial")
