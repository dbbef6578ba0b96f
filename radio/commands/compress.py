"""Compress a model to a directory that transformers loads: `radio compress ... out=DIR`.

The workflow makes all missing results for this model, method and rate under `results/` in the
current directory; later runs reuse them. The method may be a variant, as in
method=radio@scale_fit=moments; other keys are Hydra overrides for all steps that have them. If the
directory contains an earlier model, it is replaced; any other nonempty directory is an error.
"""

import logging
from collections.abc import Sequence
from pathlib import Path

from radio.commands.run_workflow import make
from radio.commands.words import pairs, pop_rate, rate_of
from radio.pack.hf.directory import write_packed
from radio.pack.hf.integrity import MANIFEST, read_checked_manifest
from radio.quantize.methods.base import Method
from radio.rate import rate_text
from radio.runtime.build import build
from radio.runtime.compose import compose_step
from radio.runtime.errors import RadioError
from radio.runtime.manifest import read_manifest
from radio.runtime.outputs import check_directory
from radio.workflow import JobGraph, job
from radio.workflow.variants import canonical

log = logging.getLogger(__name__)

# overrides that name files of the user, which outputs must not replace
PATHS = ("model.path=", "data.path=")


def run(words: Sequence[str]) -> None:
    """Run the workflow for the quantized file of `model`, `method` and rate, and pack it to `out`.

    Args:
        words: model=, method= (variants too), a rate (`pop_rate`), out=, threads=; all others are
            Hydra overrides, as in `snakemake --config overrides=[...]`.

    Raises:
        RadioError: bad input (raised before anything is run), or the workflow failed.
    """
    given = pairs(words)
    out, threads = given.pop("out", None), given.pop("threads", "all")
    rate_words = pop_rate(given)
    defaults = compose_step("quantize")
    names = {
        "model": given.pop("model", defaults.model.name),
        "method": canonical(given.pop("method", defaults.method.name)),
    }
    overrides = [f"{key}={value}" for key, value in given.items()]
    plan = JobGraph(tuple(overrides))
    quantizer = build(plan.method(names["method"]).quantizer, "method.quantizer", Method)
    plan.compose("quantize", **names)
    if not out:
        raise RadioError("out is missing: add out=DIR")
    rate = rate_of(rate_words)
    if isinstance(rate, float):
        quantizer.check_rate(rate)
    names["rate"] = rate_text(rate if isinstance(rate, float) else str(rate))
    _compress(out, names, overrides, threads)


def _compress(
    directory: str, names: dict[str, str], overrides: Sequence[str], threads: str
) -> None:
    """Make the quantized file, and pack it."""
    coded, prepared = (Path(job(step, names).artifact) for step in ("quantize", "prepare"))
    read = [word.partition("=")[2] for word in overrides if word.startswith(PATHS)]
    inputs = [coded, prepared, *(Path(path).expanduser() for path in read)]
    out = check_directory("quantize", directory, MANIFEST, inputs)
    make(coded, overrides, threads)
    manifest = read_manifest(coded)
    bits = manifest["measured"]["bpw"]
    write_packed(out, coded, Path(read_manifest(prepared)["measured"]["path"]), manifest)
    size_bytes = read_checked_manifest(out)["size_bytes"]
    log.info("%s: %.3f bits per weight, %d bytes", out, bits, size_bytes)
