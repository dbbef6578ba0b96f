"""Run the workflow from Python, like `snakemake PATH` in a shell."""

import json
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from radio.runtime.compose import CONFIG
from radio.runtime.errors import RadioError

SNAKEFILE = CONFIG.parent / "Snakefile"


def make(artifact: Path, overrides: Sequence[str] = (), threads: str = "all") -> None:
    """Let Snakemake make an artifact and its missing inputs, in the current directory.

    Args:
        artifact: path of the artifact, such as `results/table_smollm2.csv`.
        overrides: Hydra overrides, each for all steps that have its key.
        threads: number of cores that jobs share, or `all`.

    Raises:
        RadioError: the workflow failed.
    """
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(SNAKEFILE), str(artifact)]
    settings = ["--cores", threads, "--config", f"overrides={json.dumps(list(overrides))}"]
    with subprocess.Popen([*command, *settings]) as process:
        try:
            status = process.wait()
        except BaseException:
            process.send_signal(signal.SIGINT)  # Snakemake then stops its jobs
            process.wait()
            raise
    if status:
        raise RadioError(f"the workflow could not make {artifact}: it says above why")
