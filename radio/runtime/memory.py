"""Memory: how much a job may use, and how it returns freed memory."""

import ctypes
import os
import re
import resource
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from radio.runtime.errors import RadioError

# fraction of the job's own memory; the rest is for the workflow's processes
OWN_SHARE = 0.9
# fraction of the machine's memory if nothing else is set
SHARE = 0.5
# a control group that Slurm creates for a job
JOB = re.compile(r"/job_\d+(/|$)")


def memory_for_job(proc: Path = Path("/proc/self"), root: Path = Path("/sys/fs/cgroup")) -> int:
    """Return a job's default memory in bytes: its Slurm grant, or half of the machine's memory.

    Args:
        proc: `/proc/self` of this process.
        root: root of the control groups.
    """
    of_job = any(JOB.search(group) for _, group in _groups(proc))
    return int(memory_bytes(proc, root) * (OWN_SHARE if of_job else SHARE))


def allowed_bytes(memory_gb: Any, default: int) -> int:
    """Return the bytes that a job may use: its setting `memory_gb`, or `default` if null.

    Raises:
        RadioError: the setting is not a positive number.
    """
    if memory_gb is None:
        return default
    if not isinstance(memory_gb, int | float) or isinstance(memory_gb, bool) or memory_gb <= 0:
        raise RadioError(f"memory_gb={memory_gb} is no amount of memory: set gigabytes, or null")
    return int(memory_gb * 1e9)


def memory_bytes(proc: Path = Path("/proc/self"), root: Path = Path("/sys/fs/cgroup")) -> int:
    """Return the memory of this machine, or the limit of this process if lower."""
    found = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for limit in _limits(proc, root):
        try:
            found.append(int(limit.read_text(encoding="utf-8")))
        except (OSError, ValueError):  # no such file, or "max"
            continue
    return min(found)


def available_bytes(proc: Path = Path("/proc")) -> int:
    """Return the memory that this process can still take: the system's, within its own limit.

    Args:
        proc: `/proc`, which shows the state of the system and of this process.
    """
    found = [memory_bytes()]
    if (free := _field(proc / "meminfo", "MemAvailable")) is not None:
        found.append(free)
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit != resource.RLIM_INFINITY:
        found.append(max(limit - (_field(proc / "self/status", "VmSize") or 0), 0))
    return min(found)


def _field(file: Path, name: str) -> int | None:
    """Return a field of a system file in bytes; None if it is not shown."""
    try:
        found = re.search(rf"^{name}:\s*(\d+) kB", file.read_text(encoding="utf-8"), re.MULTILINE)
    except OSError:
        return None
    return None if found is None else int(found[1]) * 1024


def release_free_memory() -> None:
    """Return freed memory to the system if the allocator kept it (as glibc does).

    Tensors of megabytes that are created and freed leave holes: after reading OPT-350M's weights
    one by one, 1.3 GB stayed allocated. The call takes milliseconds.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def _limits(proc: Path, root: Path) -> Iterator[Path]:
    """Yield files that may hold a limit: of the process's control groups and all parent groups."""
    yield root / "memory.max"  # in a container, which sees its own group as the root
    yield root / "memory/memory.limit_in_bytes"
    for version, group in _groups(proc):
        top, name = (
            (root, "memory.max") if version == 2 else (root / "memory", "memory.limit_in_bytes")
        )
        inner = top / group.strip("/")
        yield from (each / name for each in (inner, *inner.parents) if each.is_relative_to(top))


def _groups(proc: Path) -> list[tuple[int, str]]:
    """Return version and path of the control groups that limit this process's memory."""
    try:
        lines = (proc / "cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
    fields = [line.split(":", 2) for line in lines]
    return [
        (1 if kinds else 2, group)
        for _, kinds, group in fields
        if not kinds or "memory" in kinds.split(",")
    ]
