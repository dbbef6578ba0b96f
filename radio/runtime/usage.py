"""What this process has taken of the machine so far."""

import resource
import sys
from pathlib import Path

COUNTERS = {"read_bytes": "read_bytes", "write_bytes": "written_bytes"}


def peak_memory_bytes() -> int:
    """Largest resident set of this process, plus what torch held at most on GPUs."""
    unit = 1 if sys.platform == "darwin" else 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    if "torch" in sys.modules:
        from radio.runtime.device import gpu_peak_bytes

        peak += gpu_peak_bytes()
    return peak


def traffic(counters: Path = Path("/proc/self/io")) -> dict[str, int]:
    """Bytes that came from storage (`read_bytes`) and went there (`written_bytes`).

    Mapped files count as their pages are fetched; what the system still had in memory does not, and
    what is written counts when it is handed over. Empty where the system does not tell.
    """
    try:
        lines = counters.read_text(encoding="utf-8").splitlines()
    except OSError:
        return {}
    told = dict(line.split(": ") for line in lines)
    return {name: int(told[key]) for key, name in COUNTERS.items()}
