"""How much memory a job may take."""

import os
from pathlib import Path

# of a job in a container or under a scheduler: version 2 of control groups, then version 1
LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


def memory_bytes() -> int:
    """Memory of this machine, or of the part of it that this process is confined to."""
    found = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for limit in LIMITS:
        try:
            found.append(int(Path(limit).read_text()))
        except (OSError, ValueError):  # there is none; "max"
            continue
    return min(found)
