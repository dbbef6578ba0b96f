"""Running Snakemake in a folder of its own."""

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent


def command(folder: Path, *arguments: str, root: Path = ROOT) -> list[str]:
    """Command line that runs the workflow at `root` with its results in `folder`."""
    snakefile = ["--snakefile", str(root / "Snakefile"), "--directory", str(folder)]
    return [str(BIN / "snakemake"), *snakefile, *arguments]


def environment(root: Path = ROOT) -> dict[str, str]:
    """Variables under which the code at `root` runs."""
    return {**os.environ, "PYTHONPATH": str(root), "XDG_CACHE_HOME": str(root / ".cache")}


def snakemake(
    folder: Path, *arguments: str, root: Path = ROOT, status: int = 0, **variables: str
) -> str:
    """Run the workflow under `variables`; returns all it says, having checked its exit status."""
    answer = subprocess.run(
        command(folder, *arguments, root=root),
        env=environment(root) | variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert answer.returncode == status, answer.stdout
    return answer.stdout


def job_counts(output: str) -> dict[str, int]:
    """The first table of job counts that a dry run prints, without its total."""
    table = output.partition("Job stats:")[2].partition("total")[0]
    return {name: int(count) for name, count in re.findall(r"^(\w+) +(\d+)$", table, re.MULTILINE)}
