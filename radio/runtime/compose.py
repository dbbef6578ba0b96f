"""Compose a step's configuration with Hydra; report each error in one sentence.

The command line and the workflow share this module. Hydra only resolves hyperparameters: it runs
nothing, logs nothing and creates no folders. Folders in `$RADIO_CONFIG_DIRS` (separated as in
`$PATH`) may add your own models, texts, methods, calibrations and experiments.
"""

import difflib
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml
from hydra import compose, initialize_config_dir
from hydra.errors import HydraException, OverrideParseException
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from radio.runtime.errors import RadioError
from radio.runtime.schema import check_step

PACKAGE = Path(__file__).resolve().parents[1]
CONFIG = PACKAGE.parent / "config"
# keys that set where, how fast and for whom a job runs; they do not change its result
MACHINE = {
    *("out", "artifacts", "wandb"),
    *("device", "threads", "streaming", "memory_gb", "activation_cache"),
}
NOUNS = {"data": "text"}

# value of an environment variable, unless it is unset or empty
OmegaConf.register_new_resolver(
    "radio.env", lambda name, default: os.environ.get(name) or default, replace=True
)


def compose_step(step: str, overrides: Sequence[str] = (), config: Path = CONFIG) -> DictConfig:
    """Compose the configuration of `step` from the YAML files under `config`.

    Args:
        step: name of the step and of its YAML file.
        overrides: in Hydra's grammar: "model=opt-125m", "seed=1".
        config: folder of the steps' YAML files and the config groups.

    Raises:
        RadioError: the step, a group option or a key is unknown, or an override cannot be parsed.
    """
    if step not in steps(config):
        raise RadioError(unknown("step", step, steps(config)))
    for override in overrides:
        _check_choice(override, config)
    cfg = _composed(step, [quoted(override) for override in overrides], config)
    check_step(step, cfg)
    expand_home(cfg)
    return cfg


def _composed(step: str, overrides: Sequence[str], config: Path) -> DictConfig:
    """Compose with Hydra and turn its errors about bad input into one sentence."""
    folders = [folder.as_uri() for folder in _extra_folders()]
    search = [f"hydra.searchpath=[{','.join(folders)}]"] if folders else []
    try:
        with initialize_config_dir(config_dir=str(config), version_base="1.3"):
            return compose(step, [*search, *overrides])
    except OverrideParseException as error:
        raise RadioError(
            f"override {error.override!r} cannot be read ({_first_line(error)}): write KEY=VALUE, "
            "and quote a value with spaces, commas or equal signs, as in 'KEY=\"a, b\"'"
        ) from error
    except yaml.MarkedYAMLError as error:
        where = " ".join(str(error.problem_mark).split())
        raise RadioError(f"YAML syntax error {where}: {error.problem}; correct it") from error
    except (HydraException, OmegaConfBaseException, ValueError, RecursionError) as error:
        raise RadioError(_bad_override(step, overrides, config, error)) from error


def _check_choice(override: str, config: Path) -> None:
    """Raise a `RadioError` if an override chooses an option that a config group lacks."""
    group, _, name = override.partition("=")
    if group not in _groups(config):
        return
    name, known = name.strip("'\""), options(group, config)
    if group == "model" and "/" in name:
        raise RadioError(
            f"model={name} is no name of a model here: for a repository of the hub, download it "
            f"(`hf download {name}`) and give model=local model.path=DIR, or copy "
            "config/model/llama2-7b.yaml to a folder `model` in RADIO_CONFIG_DIRS and edit its "
            "source"
        )
    if name not in known:
        raise RadioError(unknown(NOUNS.get(group, group), name, known))


def quoted(override: str) -> str:
    """Quote a value with characters that Hydra's grammar does not allow, such as `~` in a path.

    >>> quoted("model.path=~/opt"), quoted("seed=1")
    ("model.path='~/opt'", 'seed=1')
    """
    key, equals, value = override.partition("=")
    plain = not set(value) & set("[]{}()'\"=,$\\") and value == value.strip()
    needed = plain and not re.fullmatch(r"[\w./:%+*@?|-]*", value, re.ASCII)
    return f"{key}{equals}'{value}'" if needed else override


def expand_home(cfg: DictConfig) -> None:
    """Replace a leading `~` by the user's home in all paths: `out`, `artifacts.*` and `*.path`."""
    places = [(cfg, "out"), *_paths(cfg)]
    artifacts = _known(cfg, "artifacts")
    if isinstance(artifacts, DictConfig):
        places += [(artifacts, str(name)) for name in artifacts]
    for node, name in places:
        value = _known(node, name)
        if isinstance(value, str) and value.startswith("~"):
            node[name] = os.path.expanduser(value)
        elif isinstance(value, ListConfig):
            node[name] = [os.path.expanduser(each) for each in value]


def _paths(node: DictConfig) -> Iterator[tuple[DictConfig, str]]:
    """Yield the mappings at any depth that have a key `path`, with that key."""
    for key in map(str, node):
        value = _known(node, key)
        if key == "path":
            yield node, "path"
        elif isinstance(value, DictConfig):
            yield from _paths(value)


def _known(node: DictConfig, key: str) -> Any:
    """Return a literal value; None if it is missing or an interpolation."""
    if key not in node or OmegaConf.is_missing(node, key) or OmegaConf.is_interpolation(node, key):
        return None
    return node[key]


def steps(config: Path = CONFIG) -> list[str]:
    """Return the sorted names of all steps: a module in `radio/steps` with a YAML file."""
    names = sorted(path.stem for path in (PACKAGE / "steps").glob("*.py"))
    return [name for name in names if (config / f"{name}.yaml").is_file()]


def options(group: str, config: Path = CONFIG, *, saying: str = "") -> list[str]:
    """Return the sorted options of a config group whose YAML file contains the text `saying`."""
    folders = [config, *_extra_folders()]
    files = [path for folder in folders for path in folder.glob(f"{group}/*.yaml")]
    return sorted(
        {path.stem for path in files if not saying or saying in path.read_text(encoding="utf-8")}
    )


def unknown(noun: str, name: str, known: Iterable[str]) -> str:
    """Return the message for an unknown name: similar names first, then all known names.

    >>> unknown("model", "opt-125", ["opt-125m", "llama2-7b"])
    "unknown model 'opt-125': did you mean opt-125m? There are llama2-7b, opt-125m"
    """
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=3)
    hint = f"did you mean {' or '.join(near)}? There are" if near else "there are"
    return f"unknown {noun} {name!r}: {hint} {', '.join(names)}"


def _extra_folders() -> list[Path]:
    """Return the folders of `$RADIO_CONFIG_DIRS` as absolute paths."""
    folders = [
        Path(name).resolve()
        for name in os.environ.get("RADIO_CONFIG_DIRS", "").split(os.pathsep)
        if name
    ]
    for folder in folders:
        if not folder.is_dir():
            raise RadioError(f"RADIO_CONFIG_DIRS names {folder}, which is not a folder: correct it")
    return folders


def _bad_override(
    step: str,
    overrides: Sequence[str],
    config: Path,
    error: Exception,
) -> str:
    """Return a message that names the key that `step` lacks, or Hydra's own message."""
    match = re.match(r"Could not override '([^']+)'", str(error))
    if match is None:
        given = f" {' '.join(overrides)}" if overrides else ""
        return f"step {step}{given} cannot be composed: {_first_line(error)}"
    base = _composed(step, [], config)
    group = match[1].partition("@")[0]
    if group in _groups(config) and group not in base:
        have = [name for name in sorted(_groups(config)) if name in base]
        return f"step {step} has no key {group!r}: its groups are {', '.join(have) or 'none'}"
    chosen = [each for each in overrides if each.split("=")[0] in _groups(config) & set(base)]
    keys = list(_keys(_composed(step, chosen, config)))
    heads = {key.split(".")[0] for key in keys}
    near = difflib.get_close_matches(match[1], [*keys, *heads], n=3)
    hint = f"did you mean {' or '.join(near)}?" if near else f"it has {', '.join(sorted(heads))}"
    return f"step {step} has no key {match[1]!r}: {hint} (`radio {step} --help` shows all)"


def _groups(config: Path) -> set[str]:
    """Return the names of the config groups."""
    return {path.name for path in config.iterdir() if path.is_dir()}


def _keys(node: DictConfig, prefix: str = "") -> Iterator[str]:
    """Yield the dotted names of all values below `node`."""
    for key in node:
        value = None if OmegaConf.is_missing(node, key) else node._get_node(key)
        if isinstance(value, DictConfig) and not value._is_none():
            yield from _keys(value, f"{prefix}{key!s}.")
        else:
            yield f"{prefix}{key!s}"


def _first_line(error: Exception) -> str:
    """Return the message of an exception without Hydra's footers."""
    lines = str(error).splitlines()
    return lines[0].rstrip(".") if lines else type(error).__name__
