"""Build the objects that a configuration describes by `_target_`."""

from typing import Any

from hydra.errors import InstantiationException
from hydra.utils import instantiate

from radio.runtime.errors import RadioError


def build(settings: Any, key: str, kind: Any) -> Any:
    """Return the object that `settings` describe.

    Args:
        settings: a mapping with a `_target_` and its arguments.
        key: its place in the configuration, as written on the command line.
        kind: class or protocol that the object must be an instance of.

    Raises:
        RadioError: the object cannot be built, or has the wrong kind.
    """
    try:
        made = instantiate(settings)
    except InstantiationException as error:
        cause: BaseException = error
        while cause.__cause__ is not None and not isinstance(cause, RadioError):
            cause = cause.__cause__
        if isinstance(cause, RadioError):
            raise cause from error
        said = (str(cause).splitlines() or [""])[0]
        raise RadioError(
            f"{key} cannot be built from _target_={settings['_target_']} "
            f"({type(cause).__name__}: {said}): correct its settings, or the class"
        ) from error
    if not isinstance(made, kind):
        raise RadioError(
            f"{key}._target_={settings['_target_']} makes a {type(made).__name__} and not a "
            f"{kind.__name__}: give a class that has {', '.join(_functions(kind))}"
        )
    return made


def _functions(kind: type) -> list[str]:
    """Return the names that a class or protocol requires."""
    return sorted(name for name in vars(kind) if not name.startswith("_")) or [kind.__name__]
