"""The command line: `radio STEP [KEY=VALUE ...]`, and three commands for users.

A step reads artifacts of earlier steps and writes its own artifact to `out`; Snakemake runs the
steps in order. `radio compress` runs the whole workflow (radio/commands/). This module imports
little, so that help is fast.
"""

import ast
import errno
import importlib
import logging
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

from radio.runtime.errors import RadioError
from radio.runtime.failure import failure
from radio.runtime.secrets import MaskingFormatter, masked

log = logging.getLogger(__name__)

COMMANDS = ("compress", "plan", "export")
FAILED, BAD_INPUT = 1, 2
# 128 plus the signal's number
INTERRUPTED, PIPE_CLOSED, TERMINATED = 130, 141, 143
NO_SPACE = {errno.ENOSPC, errno.EDQUOT}

USAGE = """usage: radio compress model=NAME method=NAME RATE out=DIR
                              make what is missing, and a directory that transformers loads
       radio plan model=NAME method=NAME RATE [device=NAME]
                              what that will take, by arithmetic: bytes, operations, time
       radio export DIR out=DENSE [dtype=float16|bfloat16|float32]
                              decode such a directory to a plain checkpoint
       radio STEP [KEY=VALUE ...]
       radio STEP --help      what the step does, and its configuration

RATE is one of bpw=3 (bits per weight, everything counted), size=100MB, kl=0.05,
perplexity_increase=2% and mean_depth=3. Other keys are Hydra overrides for all steps.
`snakemake --cores all results/NAME.csv` runs all steps behind config/experiment/NAME.yaml.

steps:
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit status.

    Bad input (`RadioError`) prints one line on stderr and returns status 2. Any other error prints
    one line with the path of a file that has the traceback, and returns status 1.
    """
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    handler = logging.StreamHandler()
    handler.setFormatter(MaskingFormatter("%(asctime)s %(name)s: %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    logging.getLogger("fontTools").setLevel(logging.WARNING)  # no lines on the fonts of a PDF
    signal.signal(signal.SIGTERM, _terminate)
    try:
        if not arguments or arguments[0] in ("-h", "--help"):
            print(USAGE + _summaries(), end="")
            return 0 if arguments else BAD_INPUT
        step, *overrides = arguments
        if {"-h", "--help"} & set(overrides):
            print(_help(step, [word for word in overrides if not word.startswith("-")]), end="")
        else:
            run(step, overrides)
    except RadioError as error:
        return _complain(str(error))
    except BrokenPipeError:
        # the interpreter flushes stdout at exit, which would fail again
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return PIPE_CLOSED
    except KeyboardInterrupt:
        return INTERRUPTED
    except Exception as error:
        if isinstance(error, OSError) and error.errno in NO_SPACE:
            return _complain(f"no space left ({error}): free some disk, and run again")
        return _complain(failure(error, arguments), FAILED)
    return 0


def run(step: str, overrides: Sequence[str]) -> None:
    """Run a command for users, or compose the configuration of `step` and run it.

    Raises:
        RadioError: bad input.
    """
    if step == "quantize" and not any(word.startswith("artifacts.") for word in overrides):
        log.warning("`radio quantize` without artifacts is `radio compress` now: use that name")
        step = "compress"
    if step in COMMANDS:
        importlib.import_module(f"radio.commands.{step}").run(overrides)
        return

    from omegaconf import OmegaConf
    from omegaconf.errors import InterpolationKeyError

    from radio.runtime.compose import compose_step

    cfg = compose_step(step, overrides)
    try:
        missing = sorted(OmegaConf.missing_keys(cfg))
    except InterpolationKeyError as error:
        raise RadioError(
            f"{error.full_key} stands for a key that is not there: choose options that have it, or "
            "give a value"
        ) from error
    if missing:
        raise RadioError(
            f"step {step} is not given {', '.join(missing)}: add "
            + " ".join(f"{key}=VALUE" for key in missing)
        )
    _set_up(cfg.threads)
    from radio.runtime.workflow_lock import job_of_workflow

    with job_of_workflow():
        importlib.import_module(f"radio.steps.{step}").run(cfg)


def _set_up(threads: int | None) -> None:
    """Set environment variables that libraries read at import; the user's own are kept."""
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    if threads is None:
        return
    os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = str(threads)
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(threads)


def _summaries() -> str:
    """Return a line per step: its name and the first line of its docstring."""
    from radio.runtime.compose import steps

    return "".join(f"  {name:10} {_summary(name)}\n" for name in steps())


def _summary(step: str) -> str:
    """Return the first line of a step's docstring, without importing it."""
    return _docstring(f"steps/{step}").partition("\n")[0]


def _docstring(module: str) -> str:
    """Return a module's docstring without importing it; empty if there is none."""
    source = Path(__file__).parent / f"{module}.py"
    return (
        (ast.get_docstring(ast.parse(source.read_text(encoding="utf-8"))) or "")
        if source.is_file()
        else ""
    )


def _help(step: str, overrides: Sequence[str]) -> str:
    """Return the help of a command, or of a step with its options and its configuration."""
    if step in COMMANDS:
        return _docstring(f"commands/{step}") + "\n"

    from omegaconf import OmegaConf

    from radio.runtime.compose import compose_step, options

    cfg = compose_step(step, overrides)
    groups = {str(key): options(str(key)) for key in cfg if options(str(key))}
    choices = "".join(f"  {group}={'|'.join(names)}\n" for group, names in groups.items())
    return "\n".join(
        [
            f"usage: radio {step} [KEY=VALUE ...]\n\n{_summary(step)}",
            *([f"\nchoices:\n{choices}"] if choices else []),
            f"configuration (??? must be given):\n{OmegaConf.to_yaml(cfg)}",
        ]
    )


def _complain(sentence: str, status: int = BAD_INPUT) -> int:
    """Print an error in one line and return the exit status."""
    print(f"radio: error: {masked(' '.join(sentence.split()))}", file=sys.stderr)
    return status


def _terminate(_signal: int, _frame: FrameType | None) -> None:
    """Unwind on SIGTERM, so that scratch files are removed."""
    raise SystemExit(TERMINATED)
