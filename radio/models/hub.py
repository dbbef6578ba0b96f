"""Download checkpoints from the Hugging Face hub at a pinned commit; one-sentence errors."""

import logging
from pathlib import Path

from radio.runtime.errors import MachineError, RadioError

log = logging.getLogger(__name__)

# configurations, and tokenizers in both formats
SMALL_FILES = ["*.json", "*.txt", "tokenizer.model"]
SAFETENSORS, PICKLES = "model*.safetensors", "pytorch_model*.bin"


def snapshot(repo_id: str, revision: str) -> Path:
    """Return the directory of `repo_id` at commit `revision`, from the hub's cache if complete.

    Only the configuration, the tokenizer and one format of the weights are downloaded (safetensors
    if the repository has it).

    Raises:
        RadioError: gated without access, unknown repository or revision, no network, or no space.
    """
    from httpx2 import HTTPError
    from huggingface_hub.errors import (
        GatedRepoError,
        HFValidationError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    log.info("looking for %s at %s in the hub's cache, then on the hub", repo_id, revision)
    local = "or give a local checkpoint with model.path=DIR"
    try:
        return _fetch(repo_id, revision)
    except GatedRepoError as error:
        raise RadioError(
            f"{repo_id} is gated: accept its licence at https://huggingface.co/{repo_id}, then "
            f"run `hf auth login` or set HF_TOKEN, {local}"
        ) from error
    except HFValidationError as error:
        raise RadioError(
            f"model.source.repo_id={repo_id!r} is not a repository id: write OWNER/NAME, {local}"
        ) from error
    except RepositoryNotFoundError as error:
        raise RadioError(
            f"the hub knows no model {repo_id}, or it is private: check model.source.repo_id, log "
            f"in with `hf auth login` or HF_TOKEN if it is private, {local}"
        ) from error
    except RevisionNotFoundError as error:
        raise RadioError(
            f"{repo_id} has no revision {revision}: check model.source.revision, {local}"
        ) from error
    except (LocalEntryNotFoundError, HTTPError, ConnectionError, TimeoutError) as error:
        first_line = str(error).splitlines()[0] if str(error) else type(error).__name__
        kind = MachineError if _timed_out(error) else RadioError
        raise kind(
            f"{repo_id} is not in the hub's cache and could not be fetched ({first_line}): connect "
            f"to the network and unset HF_HUB_OFFLINE, {local}"
        ) from error
    except OSError as error:
        raise MachineError(
            f"{repo_id} could not be stored ({error}): free some disk, or set HF_HOME to a larger "
            f"one, {local}"
        ) from error


def _timed_out(error: BaseException) -> bool:
    """Return whether this error, or one that caused it, is a connection that timed out."""
    before = error.__cause__ or error.__context__
    is_timeout = isinstance(error, TimeoutError) or "Timeout" in type(error).__name__
    return is_timeout or (before is not None and _timed_out(before))


def _fetch(repo_id: str, revision: str) -> Path:
    """Download the small files, then the weights in the format that the repository has."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    def download(patterns: list[str]) -> Path:
        return Path(snapshot_download(repo_id, revision=revision, allow_patterns=patterns))

    folder = download(SMALL_FILES)
    weights = SAFETENSORS if _has_safetensors(repo_id, revision, folder) else PICKLES
    folder = download([*SMALL_FILES, weights])
    if not (folder / "config.json").is_file() or not any(folder.glob(weights)):
        raise LocalEntryNotFoundError(f"{folder} has no config.json or no {weights}")
    return folder


def _has_safetensors(repo_id: str, revision: str, folder: Path) -> bool:
    """Return whether the repository has safetensors, by its cached file list or the local files."""
    from huggingface_hub import get_cached_repo_tree
    from huggingface_hub.errors import CachedRepoTreeNotFoundError

    try:
        files = [Path(entry.path) for entry in get_cached_repo_tree(repo_id, revision=revision)]
    except CachedRepoTreeNotFoundError:
        files = [path.relative_to(folder) for path in folder.iterdir()]
    return any(path.match(SAFETENSORS) for path in files)
