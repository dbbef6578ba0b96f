"""Variants: a method or calibration with changed settings, which are part of its name in paths.

`radio@scale_fit=moments,seed=1` is method radio with `method.quantizer.scale_fit=moments` and
`seed=1`. A setting is the last part of a key in the YAML files, or more of its end if needed to
make it unique. Each step uses the settings that it has.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from omegaconf import DictConfig, OmegaConf

from radio.runtime.errors import RadioError

# groups and keys that a variant cannot change: paths name them separately, or not at all
NAMED = {"model", "data", "experiment", "figure", "artifacts", "wandb", "out", "threads"}
# nor settings of the evaluation, which are the same for all methods
MEASUREMENT = {"dtype", "batch", "split", "anchor_tolerance"}
FIXED = NAMED | MEASUREMENT
# labels, and keys of a method that determine its jobs
NAMING = {"name", "label", "needs", "calibration", "refinement"}
SEED = ("seed", "0")


def split(name: str) -> tuple[str, dict[str, str]]:
    """Return the base name and the settings of a variant.

    >>> split("radio@scale_fit=moments,seed=1")
    ('radio', {'scale_fit': 'moments', 'seed': '1'})

    Raises:
        RadioError: a setting has no value.
    """
    base, _, rest = name.partition("@")
    settings = {}
    for part in rest.split(",") if rest else []:
        key, equals, value = part.partition("=")
        if not key or not equals or not value:
            raise RadioError(f"variant {name} cannot be read: write METHOD@KEY=VALUE,KEY=VALUE")
        settings[key] = value
    return base, settings


def join(base: str, settings: Mapping[str, str]) -> str:
    """Inverse of `split`; settings are sorted, so that equal variants have the same path."""
    changed = ",".join(f"{key}={settings[key]}" for key in sorted(settings))
    return f"{base}@{changed}" if changed else base


def canonical(name: str) -> str:
    """Return the canonical form of a variant: settings sorted, without the default seed.

    >>> canonical("radio@scale_fit=moments,seed=0")
    'radio@scale_fit=moments'
    """
    base, settings = split(name)
    return join(base, {key: settings[key] for key in settings if (key, settings[key]) != SEED})


def full_key(config: DictConfig, setting: str) -> str | None:
    """Return the full key of a setting in a composed configuration, or None if it has none.

    Raises:
        RadioError: the setting is ambiguous.
    """
    content = OmegaConf.to_container(config, resolve=False)
    leaves = (key for key in _leaves(content) if key.split(".")[-1] not in NAMING)
    keys = [key for key in leaves if f".{key}".endswith(f".{setting}")]
    if len(keys) > 1:
        raise RadioError(f"setting {setting} may mean {' or '.join(keys)}: write more of the key")
    return keys[0] if keys else None


def _leaves(content: Any, above: str = "") -> Iterator[str]:
    """Yield the dotted keys of all values that are not mappings, except fixed ones."""
    for key, value in content.items():
        if not above and key in FIXED:
            continue
        if isinstance(value, dict) and value:
            yield from _leaves(value, f"{above}{key}.")
        else:
            yield f"{above}{key}"
