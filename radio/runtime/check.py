"""Check settings against their declared kinds; report the first that does not fit.

`check` takes plain Python values, as in YAML, and a type hint: a scalar type, a union, a mapping or
sequence, a dataclass, or one of `radio.runtime.kinds`. A mapping with a `_target_` must have the
arguments of the class or function that it names (`radio.runtime.signature`).
"""

import dataclasses
import difflib
import math
from collections.abc import Iterable, Mapping, Sequence
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from radio.runtime.errors import RadioError
from radio.runtime.kinds import LARGEST, Built, Fields, FieldsOfKind, Rule
from radio.runtime.signature import Signature, signature


class Absent:
    """A value that is not known yet: `???`, or an interpolation of a key that the step lacks."""

    def __repr__(self) -> str:
        return "???"


ABSENT = Absent()
SHOWN_CHARACTERS = 60
# Hydra's own keys next to the arguments of a `_target_`
HYDRAS: dict[str, Any] = {
    "_target_": str,
    "_partial_": bool,
    "_recursive_": bool,
    "_convert_": Literal["none", "partial", "object", "all"],
    "_args_": Sequence[Any],
}
SCALARS = {bool: "true or false", int: "an integer", float: "a number", str: "text"}


def check(value: Any, hint: Any, key: str) -> None:
    """Check a value against a type hint.

    Args:
        value: plain Python, or `ABSENT`.
        hint: accepted type.
        key: name of the setting, as written on the command line.

    Raises:
        RadioError: the value, or one inside it, is not accepted.
    """
    _check(value, hint, key, hint)


def check_fields(of: object, key: str) -> None:
    """Check the fields of a dataclass instance that was built in Python.

    Args:
        of: the instance.
        key: the place of its fields in a step's configuration.

    Raises:
        RadioError: a value is not accepted.
    """
    hints = get_type_hints(type(of), include_extras=True)
    for each in dataclasses.fields(of):  # type: ignore[arg-type]
        check(getattr(of, each.name), hints[each.name], f"{key}.{each.name}")


def refused(key: str, value: Any, accepted: str) -> RadioError:
    """Return the error for a setting whose value is not accepted."""
    return RadioError(f"{key}={_shown(value)} is not accepted: set {accepted}")


def _check(value: Any, hint: Any, key: str, whole: Any) -> None:
    """Check against `hint`, which is `whole` or the part of it that is not null."""
    if value is ABSENT:
        return
    if isinstance(value, Mapping) and "_target_" in value:
        return _check_target(value, key)
    origin, arguments = get_origin(hint), get_args(hint)
    if hint is Any:
        _check_inside(value, key)
    elif origin in (Union, UnionType):
        _check_union(value, arguments, key, whole)
    elif origin is Annotated:
        base, *rules = arguments
        _check(value, base, key, whole)
        for rule in rules:
            _check_rule(value, rule, key, whole)
    elif origin is Literal:
        _require(value in arguments and type(value) in map(type, arguments), key, value, whole)
    elif isinstance(hint, type) and dataclasses.is_dataclass(hint):
        _require(isinstance(value, Mapping), key, value, whole)
        check_arguments(value, _of_dataclass(hint), key)
    elif _is_a(origin or hint, Mapping):
        _require(isinstance(value, Mapping), key, value, whole)
        for name, item in value.items():
            check(item, arguments[1] if arguments else Any, f"{key}.{name}")
    elif _is_a(origin or hint, Sequence) and hint is not str:
        _require(isinstance(value, list | tuple), key, value, whole)
        for index, item in enumerate(value):
            check(item, arguments[0] if arguments else Any, f"{key}[{index}]")
    elif hint in SCALARS or hint is None or hint is NoneType:
        _require(_is_scalar(value, hint), key, value, whole)
    # otherwise an object of a class that YAML cannot express


def check_arguments(value: Mapping[str, Any], accepted: Signature, key: str) -> None:
    """Check the names and values of the arguments of a class, function or dataclass.

    Raises:
        RadioError: an argument is unknown, missing or not accepted.
    """
    given = {str(name): item for name, item in value.items()}
    above = f"{key}." if key else ""
    for name in given.keys() - accepted.hints.keys():
        if not accepted.is_open:
            raise RadioError(f"{above}{name} does not exist: {_near(name, accepted.hints, key)}")
    missing = sorted(accepted.required - given.keys())
    if missing:
        raise RadioError(f"{above}{missing[0]} is not given: add {above}{missing[0]}=VALUE")
    for name, item in given.items():
        check(item, accepted.hints.get(name, Any), f"{above}{name}")


def _check_target(value: Mapping[str, Any], key: str) -> None:
    """Check the arguments of the class or function that a `_target_` names."""
    target, own = value["_target_"], {name for name in value if name in HYDRAS}
    for name in own:
        check(value[name], HYDRAS[name], f"{key}.{name}")
    if target is ABSENT:
        return
    try:
        accepted = signature(target)
    except LookupError as error:
        raise RadioError(
            f"{key}._target_={_shown(target)} cannot be imported ({error}): correct it, or add the "
            "folder of its module to PYTHONPATH"
        ) from error
    later = value.get("_partial_") is True or "_args_" in value
    if later:
        accepted = dataclasses.replace(accepted, required=frozenset())
    check_arguments({k: v for k, v in value.items() if k not in own}, accepted, key)


def _check_inside(value: Any, key: str) -> None:
    """Check the objects inside a value of any kind."""
    if isinstance(value, Mapping):
        for name, item in value.items():
            check(item, Any, f"{key}.{name}")
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            check(item, Any, f"{key}[{index}]")


def _check_union(value: Any, options: tuple[Any, ...], key: str, whole: Any) -> None:
    """Check against several hints; if only one is not null, the error is about that one."""
    if value is None and NoneType in options:
        return
    others = [option for option in options if option is not NoneType]
    if len(others) == 1:
        return _check(value, others[0], key, whole)
    for option in others:
        try:
            return _check(value, option, key, whole)
        except RadioError:
            continue
    raise refused(key, value, describe(whole))


def _check_rule(value: Any, rule: Any, key: str, whole: Any) -> None:
    """Check a condition beyond the type; `value` has the right type."""
    if isinstance(rule, Rule):
        known = not (isinstance(value, Mapping) and ABSENT in value.values())
        _require(not known or rule.holds(value), key, value, whole)
    elif isinstance(rule, Built):
        raise RadioError(f"{key}._target_ is not given: add {key}._target_=MODULE.CLASS")
    elif isinstance(rule, Fields):
        check_arguments(value, signature(rule.target), key)
    elif isinstance(rule, FieldsOfKind) and value is not None:
        targets = dict(rule.targets)
        kind = value.get("kind") if isinstance(value, Mapping) else None
        if not isinstance(kind, str) or kind not in targets:
            raise refused(f"{key}.kind", kind, f"one of {', '.join(targets)}")
        rest = {name: item for name, item in value.items() if name != "kind"}
        check_arguments(rest, signature(targets[kind]), key)


def _of_dataclass(kind: type) -> Signature:
    """Return the arguments of an imported dataclass."""
    empty = dataclasses.MISSING
    fields = dataclasses.fields(kind)
    needed = (f.name for f in fields if f.default is empty and f.default_factory is empty)
    return Signature(get_type_hints(kind, include_extras=True), frozenset(needed))


def _is_scalar(value: Any, hint: Any) -> bool:
    """Return whether a value has a scalar type and, if a number, is finite and of usable size."""
    if hint is None or hint is NoneType:
        return value is None
    if hint is int:
        return type(value) is int and -LARGEST <= value <= LARGEST
    if hint is float:
        number = type(value) in (int, float)
        return number and abs(value) <= LARGEST**16 and math.isfinite(value)
    return type(value) is hint


def describe(hint: Any) -> str:
    """Return a description of the values that a hint accepts.

    >>> describe(int | None), describe(bool | Literal["auto"])
    ('an integer, or null', 'true, false or auto')
    """
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        parts = [describe(each) for each in arguments if each is not NoneType]
        null = ", or null" if NoneType in arguments else ""
        return " or ".join(parts).replace("true or false or", "true, false or") + null
    if origin is Annotated:
        base, *rules = arguments
        conditions = [each for each in rules if isinstance(each, Rule)]
        words = [each.words for each in conditions]
        return " ".join(
            words if any(each.alone for each in conditions) else [describe(base), *words]
        )
    if origin is Literal:
        return " or ".join(map(str, arguments))
    if _is_a(origin or hint, Mapping) or dataclasses.is_dataclass(hint):
        return "a mapping {KEY: VALUE}"
    if hint in SCALARS:
        return SCALARS[hint]
    if _is_a(origin or hint, Sequence):
        return "a list"
    return "another value"


def _require(holds: bool, key: str, value: Any, whole: Any) -> None:
    if not holds:
        raise refused(key, value, describe(whole))


def _is_a(hint: Any, kind: type) -> bool:
    return isinstance(hint, type) and issubclass(hint, kind)


def _near(name: str, known: Iterable[str], key: str) -> str:
    """Return the most similar known names, or all if none is similar."""
    near = difflib.get_close_matches(name, known, n=2)
    if near:
        return f"did you mean {' or '.join(near)}?"
    return f"{key or 'the step'} has {', '.join(known) or 'no settings'}"


def _shown(value: Any) -> str:
    """Return a value as written in YAML, shortened."""
    is_word = value is None or isinstance(value, bool)
    text = {None: "null", True: "true", False: "false"}[value] if is_word else _text(value)
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]}..."


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value if value.isprintable() and value else repr(value)
    if isinstance(value, int) and abs(value) > LARGEST:
        return f"{'-' if value < 0 else ''}(more than 2^63)"
    return str(value) if isinstance(value, int | float) else repr(value)
