"""How much memory a job may take: half of a machine or container, most of what it was granted."""

import os
from pathlib import Path

import pytest

from radio.runtime.memory import memory_bytes, memory_for_job

ALL = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
SLURM, SLURM_1 = "system.slice/slurmstepd.scope/job_17", "slurm/uid_0/job_3"
TASK = f"{SLURM}/step_0/user/task_0"


def system(folder: Path, cgroup: str, limits: dict[str, str]) -> dict[str, Path]:
    """A system that tells this of a process and of its control groups."""
    root = folder / "cgroup-files"
    (folder / "cgroup").write_text(cgroup)
    for path, limit in limits.items():
        file = root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(limit)
    return {"proc": folder, "root": root}


@pytest.mark.parametrize(
    "cgroup, limits, confined, share",
    [
        ("", {}, ALL, 0.5),
        ("0::/\n", {"memory.max": "max\n"}, ALL, 0.5),
        ("0::/\n", {"memory.max": "1000\n"}, 1000, 0.5),
        ("4:memory:/host\n", {"memory/memory.limit_in_bytes": "1000\n"}, 1000, 0.5),
        (f"0::/{TASK}\n", {f"{TASK}/memory.max": "max", f"{SLURM}/memory.max": "800"}, 800, 0.9),
        (
            f"5:cpu,memory:/{SLURM_1}\n0::/\n",
            {f"memory/{SLURM_1}/memory.limit_in_bytes": "700"},
            700,
            0.9,
        ),
        (f"1:cpu:/{SLURM_1}\n", {"memory.max": "600"}, 600, 0.5),
    ],
    ids=["none", "unlimited", "container", "container v1", "Slurm", "Slurm v1", "not of memory"],
)
def test_limits(
    tmp_path: Path, cgroup: str, limits: dict[str, str], confined: int, share: float
) -> None:
    of = system(tmp_path, cgroup, limits)
    assert memory_bytes(**of) == confined
    assert memory_for_job(**of) == int(share * confined)


def test_a_system_without_control_groups(tmp_path: Path) -> None:
    assert memory_for_job(tmp_path / "proc", tmp_path / "none") == ALL // 2
