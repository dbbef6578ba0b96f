"""How a value of ours was made, from the manifests of all the jobs behind it."""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from radio.runtime.compose import MACHINE
from radio.runtime.errors import RadioError
from radio.runtime.manifest import read_manifest

COLUMNS = ("peak_memory_bytes", "device", "config_digest", "commit", "versions")
LIBRARIES = ("python", "torch", "transformers")
DIGITS = 12


def made_by(manifests: Sequence[Path]) -> dict[str, Any]:
    """What manifests say together, by the names in `COLUMNS`.

    Memory is the largest peak of any job; the digest is that of all their configurations, in the
    order given; devices, commits and versions are each named once. A manifest that is absent or
    corrupt says nothing.
    """
    found = []
    for path in manifests:
        with suppress(RadioError):
            found.append(read_manifest(path))
    if not found:
        return dict.fromkeys(COLUMNS)
    return {
        "peak_memory_bytes": max(each.get("peak_memory_bytes") or 0 for each in found),
        "device": _each(each["device"]["name"] for each in found),
        "config_digest": config_digest([each["config"] for each in found]),
        "commit": _each(str(each["commit"]) for each in found),
        "versions": _each(
            " ".join(f"{name} {each['versions'].get(name)}" for name in LIBRARIES) for each in found
        ),
    }


def config_digest(configs: Iterable[Mapping[str, Any]]) -> str:
    """Digest of configurations without the settings of the machine, 12 hexadecimal digits."""
    numbers = [{key: each[key] for key in each if key not in MACHINE} for each in configs]
    text = json.dumps(numbers, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:DIGITS]


def _each(words: Iterable[str]) -> str:
    return " / ".join(dict.fromkeys(words))
