"""The workflow, from Python: what `snakemake PATH` does in a shell."""

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
    """Let Snakemake make an artifact and all that it needs, in the current directory.

    Args:
        artifact: its path, such as `results/table_smollm2.csv`.
        overrides: Hydra overrides for all steps that have their key.
        threads: cores that jobs share, or `all`.

    Raises:
        RadioError: it could not.
    """
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(SNAKEFILE), str(artifact)]
    settings = ["--cores", threads, "--config", f"overrides={json.dumps(list(overrides))}"]
    with subprocess.Popen([*command, *settings]) as process:
        try:
            status = process.wait()
        except BaseException:
            process.send_signal(signal.SIGINT)  # by which Snakemake stops its jobs
            process.wait()
            raise
    if status:
        raise RadioError(f"the workflow could not make {artifact}: it says above why")
