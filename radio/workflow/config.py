"""Compose a step's configuration from a job's names and the user's overrides."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import yaml
from omegaconf import DictConfig

from radio.rate import rate_override
from radio.runtime.compose import CONFIG, MACHINE, PACKAGE, compose_step, steps, unknown
from radio.runtime.errors import RadioError
from radio.workflow.variants import full_key, split

# config groups whose options may be variants
VARIED = ("method", "calibration")


@dataclass(frozen=True)
class ConfigResolver:
    """Configuration files, code, and the user's overrides.

    Attributes:
        overrides: Hydra overrides, each for all steps that have its key.
        config: folder of the YAML files.
        package: folder of the code.
    """

    overrides: tuple[str, ...] = ()
    config: Path = field(default=CONFIG)
    package: Path = field(default=PACKAGE)

    def overrides_of(self, step: str) -> list[str]:
        """Return the overrides whose key `step` has.

        Raises:
            RadioError: no step has the key of an override, or the override changes no result:
                since it would be a parameter of all jobs, they would all be rerun.
        """
        keys = {name: keys_of(name, self.config) for name in steps(self.config) if self.overrides}
        known = set().union(*keys.values())
        for override in self.overrides:
            if _head(override) in MACHINE:
                raise RadioError(
                    f"overrides has {override}, which changes no number: set WANDB_MODE, "
                    "RADIO_DEVICE, RADIO_STREAMING or RADIO_MEMORY_GB, use snakemake's "
                    "--set-threads, or edit config/common.yaml"
                )
            if _head(override) not in known:
                raise RadioError(unknown("key in overrides", _head(override), known - MACHINE))
        return [override for override in self.overrides if _head(override) in keys[step]]

    def arguments(self, step: str, **names: str) -> list[str]:
        """Return the Hydra overrides of the job: the user's, its options, rate and variants."""
        groups = keys_of(step, self.config)
        chosen, settings = dict(names), dict[str, str]()
        for group in VARIED:
            if group in names:
                chosen[group], changed = split(names[group])
                settings |= changed
        if "refinement" in groups and "method" in names:
            chosen["refinement"] = self.method(names["method"]).refinement
        options = sorted(f"{group}={name}" for group, name in chosen.items() if group in groups)
        given = [*self.overrides_of(step), *options]
        if "rate" in names and "rate_bits" in groups:
            given.append(rate_override(names["rate"]))
        if not settings:
            return given
        composed = _composed(step, tuple(given), self.config)
        full = {full_key(composed, key): value for key, value in settings.items()}
        return [*given, *(f"{key}={value}" for key, value in full.items() if key is not None)]

    def compose(self, step: str, **names: str) -> DictConfig:
        """Return the configuration of the job; `names` without a config group are ignored."""
        return _composed(step, tuple(self.arguments(step, **names)), self.config)

    def method(self, name: str) -> DictConfig:
        """Return a method's YAML, after checking that the settings of its variant exist."""
        return _checked_method(self, name)


@cache
def keys_of(step: str, config: Path) -> frozenset[str]:
    """Return the top-level keys of a step's configuration, without the 50 ms to compose it."""
    try:
        return frozenset(_keys(config / f"{step}.yaml"))
    except (OSError, yaml.YAMLError):
        return frozenset(str(key) for key in compose_step(step, (), config))  # raises a clear error


def _keys(path: Path) -> Iterator[str]:
    """Yield the top-level keys of a YAML file and of the files in its `defaults`."""
    content = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    for default in content.pop("defaults", []):
        if isinstance(default, dict):
            yield from default
        elif default != "_self_":
            yield from _keys(path.with_stem(default))
    yield from content


@cache
def _composed(step: str, overrides: tuple[str, ...], config: Path) -> DictConfig:
    return compose_step(step, overrides, config)


@cache
def _checked_method(of: ConfigResolver, name: str) -> DictConfig:
    """Return the YAML of a method, with the settings of its variant applied.

    Raises:
        RadioError: no step of the method has a setting of the variant.
    """
    base, settings = split(name)
    given = (*of.overrides_of("quantize"), f"method={base}")
    composed = _composed("quantize", given, of.config)
    full = {full_key(composed, key): value for key, value in settings.items()}
    changed = [f"{key}={value}" for key, value in full.items() if key is not None]
    method: DictConfig = _composed("quantize", (*given, *changed), of.config).method
    others = [composed]
    if settings and "allocation" in method.needs:
        steps_run = ("allocate", *(("refine",) if method.get("refinement") else ("target",)))
        others += [
            _composed(step, (*of.overrides_of(step), f"method={base}"), of.config)
            for step in steps_run
        ]
    if settings and method.get("calibration"):
        others.append(of.compose("calibrate", calibration=method.calibration))
    for key in settings:
        if not any(full_key(config, key) for config in others):
            raise RadioError(
                f"method {name} sets {key}, which no step of {base} has: "
                f"see config/method/{base}.yaml and what it names"
            )
    return method


def _head(override: str) -> str:
    """Return the first part of the key of an override.

    >>> _head("model.path=/x"), _head("+seed=1")
    ('model', 'seed')
    """
    return override.lstrip("+~").partition("=")[0].partition(".")[0]
