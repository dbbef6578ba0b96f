"""Write a JSON manifest next to every artifact: how it was made and what was measured.

    with recorded("evaluate", cfg, output_path(cfg.out)) as (staged, measured):
        ...                                   # write the artifact to the path `staged`
        measured["perplexity"] = 21.4         # measurements, names carrying their unit

`results/a/b.csv` gets `results/a/b.json`. Where the artifact itself is the JSON file (`prepare`),
it is also the manifest. Tables read manifests and never recompute their values.
"""

import importlib.metadata
import logging
import math
import os
import platform
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue

from radio.runtime.artifacts import check_artifacts, content_digest, read_manifest
from radio.runtime.errors import RadioError
from radio.runtime.files import (
    grant_mode,
    locked,
    replace,
    scratch_folder,
    write_json,
)
from radio.runtime.outputs import (
    MANIFEST_ONLY,
    STATES,
    check_output,
    manifest_path,
    paths_in,
)
from radio.runtime.secrets import masked_values
from radio.runtime.tracking import configured_mode, log_job
from radio.runtime.usage import peak_memory_bytes, traffic

__all__ = ["commit", "manifest_path", "read_manifest", "recorded", "resolved"]

log = logging.getLogger(__name__)

LIBRARIES = (
    "torch",
    "transformers",
    "tokenizers",
    "safetensors",
    "datasets",
    "numpy",
    "hydra-core",
)


@contextmanager
def recorded(
    step: str, cfg: DictConfig, out: Path, companions: Sequence[str] = ()
) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Time the block that makes `out`, write its manifest, and report the job to W&B.

    The block writes to a scratch folder. At its end, artifact, companions and manifest are renamed
    under one lock, the manifest first. If two processes write the same `out`, the last one wins
    with all its files; until then an earlier output stays unchanged. A process that is killed
    between two renames leaves a manifest whose `identity` does not match its artifact. If the block
    raises, nothing is written.

    Args:
        step: name of the step, as on the command line.
        cfg: its composed config; `cfg.seed` and `cfg.threads` are read if present.
        out: path of the artifact that the block makes.
        companions: suffixes of the other files that it makes next to `out`, such as ".md".

    Yields:
        The path to write the artifact to, with the same name as `out` (companions go next to it),
        and a dictionary for measurements: numbers, strings, None, or lists and mappings of these.
        A non-finite number becomes null and is listed in `not_finite`.

    Raises:
        RadioError: a required config value is missing (`???`), `wandb.mode` is unknown, `out` is
            not writable or holds something else, an artifact that the step reads has the wrong kind
            or belongs to another model, or the disk is full.
        TypeError: a measurement has another type.
    """
    config = resolved(cfg)
    configured_mode(cfg)  # a typo must not lose an hour's work at its end
    inputs = list(paths_in(config))
    check_output(step, out, companions, inputs)
    made_from = check_artifacts(step, config)
    measured: dict[str, Any] = {}
    resumed = any(out.with_name(out.name + suffix).exists() for suffix in STATES)
    start, moved = time.perf_counter(), traffic()
    with scratch_folder(out) as folder:
        staged = folder / out.name
        yield staged, measured
        wall_s = time.perf_counter() - start
        if step not in MANIFEST_ONLY and not staged.is_file():
            raise FileNotFoundError(f"step {step} ended without writing {out}")
        finite, not_finite = _split_finite(measured)
        if not_finite:
            log.warning("%s: not finite, stored as null: %s", out, ", ".join(not_finite))
        content = {
            "step": step,
            "artifact": str(out),
            "config": masked_values(config),
            "made_from": made_from,
            "commit": commit(),
            "seed": config.get("seed"),
            "versions": _versions(),
            "device": _device(config.get("threads")),
            "wall_s": round(wall_s, 3),
            "resumed": resumed,
            "peak_memory_bytes": peak_memory_bytes(),
            **{name: total - moved[name] for name, total in traffic().items()},
            "size_bytes": staged.stat().st_size if staged.exists() else None,
            "identity": content_digest(staged) if staged.exists() else None,
            "measured": finite,
            "not_finite": not_finite,
        }
        write_json(manifest_path(staged), content)
        written = _publish(step, out, folder, companions, inputs)
    log_job(
        step,
        cfg,
        {"wall_s": content["wall_s"], "peak_memory_bytes": content["peak_memory_bytes"], **finite},
        tables={out.stem: out} if out.suffix == ".csv" else {},
        images={out.stem: out} if out.suffix == ".png" else {},
        vectors=[file for file in written if file.suffix == ".pdf"],
        artifacts=written,
    )


def _publish(
    step: str, out: Path, folder: Path, companions: Sequence[str], inputs: Iterable[Path]
) -> list[Path]:
    """Move the files in the scratch `folder` next to `out`; return their new paths, sorted."""
    suffixes = dict.fromkeys([".json", *companions, out.suffix])
    made = [folder / out.with_suffix(suffix).name for suffix in suffixes]
    for file in made:
        grant_mode(file, folder)
    with locked(out.parent):
        check_output(step, out, companions, inputs)  # checked again: the job may have taken days
        for file in made:
            replace(out.parent / file.name, file, folder)
    return sorted(out.parent / file.name for file in made)


def resolved(cfg: DictConfig) -> dict[str, Any]:
    """Return the config as plain Python values with interpolations resolved.

    Raises:
        RadioError: a required value is still `???`.
    """
    try:
        content = OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True)
    except MissingMandatoryValue as error:
        key = error.full_key
        raise RadioError(f"{key} is not given: add {key}=VALUE to the command") from error
    if not isinstance(content, dict):
        raise TypeError(f"a step's config is a mapping, not {type(content).__name__}")
    return {str(key): value for key, value in content.items()}


def commit() -> str:
    """Return the code version from `git describe`; "unknown" outside a git checkout."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=12"]
    folder = Path(__file__).parent
    try:
        answer = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, timeout=10, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return answer.stdout.strip() or "unknown"


def _split_finite(measured: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Return `measured` as JSON values, and the names of its non-finite numbers."""
    not_finite: list[str] = []

    def clean(value: Any, name: str) -> Any:
        if value is None or isinstance(value, bool | str):
            return value
        if isinstance(value, Path):
            return str(value)
        if isinstance(value, Mapping):
            return {str(key): clean(item, f"{name}.{key}") for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [clean(item, f"{name}[{index}]") for index, item in enumerate(value)]
        if hasattr(value, "item"):  # numpy and torch scalars
            value = value.item()
        if not isinstance(value, int | float):
            raise TypeError(f"measured {name} is a {type(value).__name__}, which JSON cannot hold")
        if math.isfinite(value):
            return value
        not_finite.append(f"{name}={value}")
        return None

    return {str(key): clean(value, str(key)) for key, value in measured.items()}, not_finite


def _versions() -> dict[str, str]:
    """Return the versions of Python and of the libraries that affect results, without imports."""
    found = {"python": platform.python_version()}
    for name in LIBRARIES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _device(threads: int | None) -> dict[str, Any]:
    """Return the names of the GPUs that were used, else of the CPU, and the number of threads."""
    if "torch" not in sys.modules:
        return {"name": _processor(), "threads": threads or os.cpu_count()}
    import torch

    from radio.runtime.device import gpus_used

    return {"name": gpus_used() or _processor(), "threads": torch.get_num_threads()}


def _processor() -> str:
    """Return the model name of the CPU, or the architecture if the system does not report it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
