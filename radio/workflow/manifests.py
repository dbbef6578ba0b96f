"""Digest of the manifests that the ledger reads, so that new evaluations rebuild it."""

import hashlib
from collections.abc import Iterable
from itertools import chain
from pathlib import Path

DIGITS = 12
READ = ("*/evaluation/**/*.json", "*/downstream/**/*.json", "*/absent.json", "table_kernel.json")


def manifests_digest(results: Path = Path("results")) -> str:
    """Return the digest of the ledger's manifests under `results`, 12 hexadecimal digits."""
    paths: Iterable[Path] = chain.from_iterable(results.glob(pattern) for pattern in READ)
    hashes = [hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(paths)]
    return hashlib.sha256("".join(hashes).encode()).hexdigest()[:DIGITS]
