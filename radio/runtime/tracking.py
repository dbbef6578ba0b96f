"""Weights & Biases: one run per job, online or offline; its failures never affect the job.

`cfg.wandb.mode` is `online`, `offline`, `disabled` or `auto`. `auto` follows `$WANDB_MODE` if set;
otherwise it is online if there is an API key and the server answers, else offline. Offline runs are
stored in `logs/wandb` (or `$WANDB_DIR/wandb`) until `wandb sync logs/wandb/offline-run-*` uploads
them. Runs are grouped by experiment: the workflow sets `$WANDB_RUN_GROUP` to the tables that it
makes. A job is logged once, when its artifact is complete. Any W&B error ends as one warning.
"""

import csv
import hashlib
import http.client
import json
import logging
import netrc
import os
import threading
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from omegaconf import DictConfig, OmegaConf

from radio.runtime.errors import RadioError
from radio.runtime.secrets import masked, masked_values

log = logging.getLogger(__name__)

MODES = ("auto", "online", "offline", "disabled")
# values of $WANDB_MODE from earlier versions of W&B
OLD_MODES = {"dryrun": "offline", "run": "online"}
REACH_TIMEOUT_S = 2.0
INIT_TIMEOUT_S = 10.0
# a table and a figure upload in well under a second; after this the server is in trouble
FINISH_TIMEOUT_S = 30.0
# larger files are referenced by path only: W&B's MD5 of a 70B checkpoint would take minutes
HASHED_BYTES = 2**27


def log_job(
    step: str,
    cfg: DictConfig,
    measured: Mapping[str, Any],
    *,
    tables: Mapping[str, Path] | None = None,
    images: Mapping[str, Path] | None = None,
    vectors: Sequence[Path] = (),
    artifacts: Sequence[Path] = (),
) -> None:
    """Log one finished job as one W&B run.

    Args:
        step: name of the step; the run's job type.
        cfg: composed config; its `wandb` section sets where and whether to log.
        measured: the run's summary.
        tables: CSV files shown as W&B tables, by name.
        images: PNG files shown as images, by name.
        vectors: PDF files of the same figures, stored among the run's files.
        artifacts: files recorded by reference: W&B stores path and hash, not the bytes.

    Raises:
        RadioError: `wandb.mode` is none of the four; no other error is raised.
    """
    mode = choose_mode(cfg)
    if mode == "disabled":
        return
    media = (tables or {}, images or {}, vectors, artifacts)
    try:
        try:
            _log(mode, step, cfg, measured, *media)
        except Exception as error:
            if mode == "offline":
                raise
            log.warning("W&B is not to be had online (%s): logging offline", _sentence(error))
            _forget_service()
            _log("offline", step, cfg, measured, *media)
    except Exception as error:  # tracking errors must not affect the job
        log.warning("W&B did not log this job (%s)", _sentence(error))


def configured_mode(cfg: DictConfig) -> str:
    """Return the mode that `cfg.wandb.mode` requests, or `$WANDB_MODE` under `auto`.

    Raises:
        RadioError: the mode is none of the four.
    """
    mode = str(OmegaConf.select(cfg, "wandb.mode", default="disabled"))
    source = "wandb.mode"
    if mode == "auto" and os.environ.get("WANDB_MODE"):
        mode, source = os.environ["WANDB_MODE"], "$WANDB_MODE"
        mode = OLD_MODES.get(mode, mode)
    if mode not in MODES:
        raise RadioError(f"{source}={mode} is not a mode of W&B: choose one of {', '.join(MODES)}")
    return mode


def choose_mode(cfg: DictConfig) -> str:
    """Return online, offline or disabled; a config without `wandb` is disabled.

    Online needs an API key and a server that answers; otherwise the run is written offline.

    Raises:
        RadioError: the configured mode is none of the four.
    """
    mode = configured_mode(cfg)
    if mode in ("offline", "disabled"):
        return mode
    server = os.environ.get("WANDB_BASE_URL") or "https://api.wandb.ai"
    reason = None
    if not _has_key(server):
        reason = "no API key: run `wandb login`"
    elif not _answers(server):
        reason = f"{masked(server)} does not answer within {REACH_TIMEOUT_S:g} s"
    if reason and mode == "online":
        log.warning("W&B is not to be had online (%s): logging offline", reason)
    return "offline" if reason else "online"


def run_name(step: str, cfg: DictConfig, measured: Mapping[str, Any]) -> str:
    """Return the name of the job's run, such as `evaluate/smollm2-135m/radio/3`.

    It contains model, method, rate and text as far as the config or the measurements have them. A
    job without these (a table, a figure) is named after its output.
    """
    keys = {"model": "model.name", "method": "method.name", "rate_bits": "rate_bits"}
    parts = [OmegaConf.select(cfg, key) or measured.get(name) for name, key in keys.items()]
    parts.append(OmegaConf.select(cfg, "data.name"))
    # so that 3.0 and 3 give one name
    words = [f"{part:g}" if isinstance(part, float) else str(part) for part in parts if part]
    return "/".join([step, *words] if words else [step, Path(str(cfg.out)).stem])


def run_group(name: str) -> str:
    """Return the experiments that the workflow makes, else the second part of a run's name."""
    return os.environ.get("WANDB_RUN_GROUP") or name.split("/")[1]


def run_id(step: str, cfg: DictConfig) -> str:
    """Return an identifier that a repeated job shares only with its first attempt.

    It is a hash of the step and of the config without keys that do not affect the result (`wandb`,
    `threads`).
    """
    recipe = {key: value for key, value in _plain(cfg).items() if key not in ("wandb", "threads")}
    text = json.dumps([step, recipe], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _log(
    mode: str,
    step: str,
    cfg: DictConfig,
    measured: Mapping[str, Any],
    tables: Mapping[str, Path],
    images: Mapping[str, Path],
    vectors: Sequence[Path],
    artifacts: Sequence[Path],
) -> None:
    """Write the run; every call here may raise."""
    import wandb

    home = os.environ.get("WANDB_DIR") or "logs"
    Path(home, "wandb").mkdir(parents=True, exist_ok=True)
    wandb.setup(settings=wandb.Settings(silent=True))  # otherwise the login prints messages
    settings = wandb.Settings(
        silent=True,
        console="off",
        init_timeout=INIT_TIMEOUT_S,
        finish_timeout=FINISH_TIMEOUT_S,
        disable_git=True,
        disable_code=True,
        x_disable_stats=True,
        x_disable_machine_info=True,
        x_save_requirements=False,  # half a second; the manifest has the relevant versions
    )
    name = run_name(step, cfg, measured)
    with wandb.init(
        mode="online" if mode == "online" else "offline",
        project=OmegaConf.select(cfg, "wandb.project", default="radio"),
        entity=OmegaConf.select(cfg, "wandb.entity", default=None),
        dir=home,
        id=run_id(step, cfg),
        # W&B cannot resume an offline run; `wandb sync` continues the run with the same id
        resume="allow" if mode == "online" else None,
        name=name,
        group=run_group(name),
        job_type=step,
        config=_plain(cfg),
        settings=settings,
    ) as run:
        run.summary.update(dict(measured))
        media: dict[str, Any] = {key: _table(path) for key, path in tables.items()}
        media |= {key: wandb.Image(str(path)) for key, path in images.items()}
        if media:
            run.log(media)
        for path in vectors:
            # relative paths would refer to the run's folder
            run.save(str(path.resolve()), base_path=str(path.resolve().parent), policy="now")
        if artifacts:
            reference = wandb.Artifact(name.replace("/", "-"), type=step)
            for path in artifacts:
                small = path.stat().st_size < HASHED_BYTES
                reference.add_reference(path.resolve().as_uri(), name=path.name, checksum=small)
            run.log_artifact(reference)


def _plain(cfg: DictConfig) -> dict[str, Any]:
    """Return the config as plain values; missing values stay `???`."""
    config: Any = OmegaConf.to_container(cfg, resolve=True)
    return {str(key): masked_values(value) for key, value in config.items()}


def _forget_service() -> None:
    """Stop W&B's helper process, which would block reusing a failed run's id."""
    import wandb

    wandb.teardown()


def _table(path: Path) -> Any:
    """Return the CSV file as a `wandb.Table`; numeric columns as numbers, empty cells as None."""
    import wandb

    with path.open(newline="", encoding="utf-8") as file:
        header, *rows = list(csv.reader(file))
    columns = [_numbers(list(column)) for column in zip(*rows, strict=True)]
    table = wandb.Table(columns=list(header), allow_mixed_types=True)
    for row in zip(*columns, strict=True):
        table.add_data(*row)
    return table


def _sentence(error: Exception) -> str:
    """Return the class of an error and the first line of its message, at most 160 characters."""
    line = masked(str(error).partition("\n")[0])
    return f"{type(error).__name__}: {line if len(line) <= 160 else line[:157] + '...'}"


def _numbers(column: list[str]) -> list[Any]:
    """Return the column as numbers if every non-empty cell is one, else unchanged."""
    try:
        return [float(cell) if cell else None for cell in column]
    except ValueError:
        return [cell or None for cell in column]


def _has_key(server: str) -> bool:
    """Return whether the environment or the user's netrc file has an API key."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    host = urlsplit(server).hostname or ""
    try:
        return netrc.netrc(os.environ.get("NETRC")).authenticators(host) is not None
    except (OSError, netrc.NetrcParseError):
        return False


def _answers(server: str) -> bool:
    """Return whether the server answers HTTP in time, through the proxy if one is set.

    Any answer counts. The request runs in a thread because neither a name look-up nor a slow
    trickle of bytes respects a socket's timeout.
    """
    answered = threading.Event()

    def ask() -> None:
        request = urllib.request.Request(server, method="HEAD")
        try:
            urllib.request.urlopen(request, timeout=REACH_TIMEOUT_S).close()
        except urllib.error.HTTPError as error:
            error.close()
        except (OSError, ValueError, http.client.HTTPException):
            return
        answered.set()

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(REACH_TIMEOUT_S)
    return answered.is_set()
