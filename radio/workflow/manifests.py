"""What the ledger is read from, as one digest: new evaluations make it anew."""

import hashlib
from collections.abc import Iterable
from itertools import chain
from pathlib import Path

DIGITS = 12
READ = ("*/evaluation/**/*.json", "*/downstream/**/*.json", "*/absent.json", "table_kernel.json")


def manifests_digest(results: Path = Path("results")) -> str:
    """Digest of the manifests under `results` that the ledger reads, 12 hexadecimal digits."""
    paths: Iterable[Path] = chain.from_iterable(results.glob(pattern) for pattern in READ)
    hashes = [hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(paths)]
    return hashlib.sha256("".join(hashes).encode()).hexdigest()[:DIGITS]
