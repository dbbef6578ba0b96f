"""How a job's names and the user's overrides become a step's composed configuration."""

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

# groups whose options may be variants
VARIED = ("method", "calibration")


@dataclass(frozen=True)
class ConfigResolver:
    """Configuration files, code, and the overrides they are run under.

    Attributes:
        overrides: Hydra overrides for every step that has their key.
        config: folder of the YAML files.
        package: folder of the code.
    """

    overrides: tuple[str, ...] = ()
    config: Path = field(default=CONFIG)
    package: Path = field(default=PACKAGE)

    def overrides_of(self, step: str) -> list[str]:
        """Those of the overrides that `step` has the key of.

        Raises:
            RadioError: an override that no step has the key of, or that changes no number: as
                parameters of all jobs, such would make everything anew.
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
        """Hydra overrides of the job of `step` for `names`: what is changed, chosen and asked."""
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
        """Configuration of the job of `step` for those of `names` that it has a group for."""
        return _composed(step, tuple(self.arguments(step, **names)), self.config)

    def method(self, name: str) -> DictConfig:
        """A method's YAML, once the settings of its variant are known to exist."""
        return _checked_method(self, name)


@cache
def keys_of(step: str, config: Path) -> frozenset[str]:
    """Top-level keys of a step's configuration, by its YAML alone: to compose it takes 50 ms."""
    try:
        return frozenset(_keys(config / f"{step}.yaml"))
    except (OSError, yaml.YAMLError):
        return frozenset(str(key) for key in compose_step(step, (), config))  # says what is wrong


def _keys(path: Path) -> Iterator[str]:
    """Top-level keys of a YAML file and of what its `defaults` name."""
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
    """The YAML of a method, with what the settings of its variant change there.

    Raises:
        RadioError: a setting of the variant that no step of the method has.
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
    """First part of the key of an override.

    >>> _head("model.path=/x"), _head("+seed=1")
    ('model', 'seed')
    """
    return override.lstrip("+~").partition("=")[0].partition(".")[0]
