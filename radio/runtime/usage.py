"""Resources that this process has used so far."""

import resource
import sys
from pathlib import Path

COUNTERS = {"read_bytes": "read_bytes", "write_bytes": "written_bytes"}


def peak_memory_bytes() -> int:
    """Return the largest resident set of this process plus torch's peak memory on GPUs."""
    unit = 1 if sys.platform == "darwin" else 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    if "torch" in sys.modules:
        from radio.runtime.device import gpu_peak_bytes

        peak += gpu_peak_bytes()
    return peak


def traffic(counters: Path = Path("/proc/self/io")) -> dict[str, int]:
    """Return the bytes read from storage (`read_bytes`) and written to it (`written_bytes`).

    Pages of mapped files count when they are fetched, but not if the system still had them in
    memory. Writes count when they are handed to the system. Empty if the system has no counters.
    """
    try:
        lines = counters.read_text(encoding="utf-8").splitlines()
    except OSError:
        return {}
    totals = dict(line.split(": ") for line in lines)
    return {name: int(totals[key]) for key, name in COUNTERS.items()}
