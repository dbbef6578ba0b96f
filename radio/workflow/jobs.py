"""Jobs and the paths of their artifacts.

A job is a step and its names, the values of its wildcards in the workflow. The rules under
`workflow/` contain the same paths as literals.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ARTIFACTS = {
    "prepare": "results/{model}/model.json",
    "tokenize": "results/{model}/tokens/{data}.safetensors",
    "items": "results/tasks/{tasks}.jsonl",
    "reference": "results/{model}/reference/{data}.safetensors",
    "calibrate": "results/{model}/statistics/{calibration}.safetensors",
    "refine": "results/{model}/refined/{method}/{rate}.safetensors",
    "codebook": "results/{model}/codebook/{method}.safetensors",
    "distortion": "results/{model}/distortion/{method}.safetensors",
    "target": "results/{model}/target/{method}/{rate}.json",
    "allocate": "results/{model}/allocation/{method}/{rate}.safetensors",
    "quantize": "results/{model}/quantized/{method}/{rate}.safetensors",
    "evaluate": "results/{model}/evaluation/{method}/{rate}/{data}.csv",
    "downstream": "results/{model}/downstream/{method}/{rate}/{tasks}.csv",
    "table": "results/{experiment}.csv",
    "figure": "results/figures/{figure}.png",
    "bench": "results/table_kernel.csv",
    "ledger": "results/ledger.csv",
    "decode": "results/table_decode.csv",
}
# names of artifacts in the steps' YAML files
READ_AS = {
    "prepare": "model",
    "tokenize": "tokens",
    "items": "task_items",  # `items` is reserved by Snakemake
    "reference": "reference",
    "calibrate": "statistics",
    "refine": "statistics",
    "codebook": "codebook",
    "distortion": "distortion",
    "target": "target",
    "allocate": "allocation",
    "quantize": "quantized",
    "table": "table",
}


@dataclass(frozen=True)
class Job:
    """One run of a step: `names` are the wildcards of its artifact's path."""

    step: str
    names: tuple[tuple[str, str], ...]

    @property
    def artifact(self) -> str:
        """Path of the artifact."""
        return ARTIFACTS[self.step].format(**dict(self.names))

    @property
    def manifest(self) -> str:
        """Path of the artifact's manifest."""
        return str(Path(self.artifact).with_suffix(".json"))


def job(step: str, names: Mapping[str, str]) -> Job:
    """Return the job of `step`; `names` that are not in its artifact's path are ignored.

    >>> job("prepare", {"model": "opt-125m", "data": "c4"}).artifact
    'results/opt-125m/model.json'
    """
    held = {name: names[name] for name in names if f"{{{name}}}" in ARTIFACTS[step]}
    return Job(step, tuple(sorted(held.items())))


def argument(artifact: str, paths: str | Sequence[str]) -> str:
    """Return the override that passes the path or paths of an artifact to a step.

    >>> argument("model", "a.json"), argument("evaluations", ["a.json", "b.json"])
    ("artifacts.model='a.json'", "artifacts.evaluations=['a.json','b.json']")
    """
    quoted = [f"'{path}'" for path in ([paths] if isinstance(paths, str) else paths)]
    value = quoted[0] if isinstance(paths, str) else f"[{','.join(quoted)}]"
    return f"artifacts.{artifact}={value}"
