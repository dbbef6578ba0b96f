"""The origin of our values, from the manifests of the jobs that produced them."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from radio.runtime.compose import MACHINE
from radio.runtime.errors import RadioError
from radio.runtime.manifest import read_manifest

COLUMNS = ("peak_memory_bytes", "device", "config_digest", "commit", "versions")
DIGEST_DIGITS = 12


def provenance_sentence(paths: Iterable[Path]) -> list[str]:
    """Return one sentence on devices, versions and commits; no sentence without a manifest."""
    manifests = _readable(paths)
    if not manifests:
        return []
    devices = _distinct(
        f"{manifest['device']['name']}, {manifest['device']['threads']} threads"
        for manifest in manifests
    )
    libraries = _distinct(_versions(m, ("torch", "transformers"), ", ") for m in manifests)
    commits = _distinct(str(manifest["commit"]) for manifest in manifests)
    return [f"Measured on {devices} with {libraries} at commit {commits}."]


def provenance_columns(paths: Iterable[Path]) -> dict[str, Any]:
    """Return the values of `COLUMNS` for one value of ours; None without a manifest.

    Memory is the largest peak of any job. The digest covers the configurations of all jobs, in
    the given order. An absent or corrupt manifest contributes nothing.
    """
    manifests = _readable(paths)
    if not manifests:
        return dict.fromkeys(COLUMNS)
    return {
        "peak_memory_bytes": max(m.get("peak_memory_bytes") or 0 for m in manifests),
        "device": _distinct(m["device"]["name"] for m in manifests),
        "config_digest": config_digest(m["config"] for m in manifests),
        "commit": _distinct(str(m["commit"]) for m in manifests),
        "versions": _distinct(
            _versions(m, ("python", "torch", "transformers"), " ") for m in manifests
        ),
    }


def config_digest(configs: Iterable[Mapping[str, Any]]) -> str:
    """Return 12 hexadecimal digits of a hash of configurations, without machine settings."""
    settings = [{key: config[key] for key in config if key not in MACHINE} for config in configs]
    text = json.dumps(settings, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:DIGEST_DIGITS]


def _readable(paths: Iterable[Path]) -> list[dict[str, Any]]:
    manifests = []
    for path in paths:
        with suppress(RadioError):  # the row's note says that it is absent or corrupt
            manifests.append(read_manifest(path))
    return manifests


def _versions(manifest: Mapping[str, Any], libraries: Iterable[str], separator: str) -> str:
    return separator.join(f"{name} {manifest['versions'].get(name)}" for name in libraries)


def _distinct(words: Iterable[str]) -> str:
    return " / ".join(dict.fromkeys(words))
