"""Digests of the settings and the code that decide a result.

Comments, docstrings, labels and machine settings are excluded, so that editing them invalidates
nothing. Files are read as UTF-8 whatever the locale, so that digests are the same everywhere.
"""

import ast
import hashlib
import importlib.util
from collections.abc import Collection, Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from radio.runtime.compose import MACHINE, PACKAGE

# labels of the report, which reads them from the YAML files itself
WORDS = {"label", "note", "title"}
# used by plans only
PLANS = {"architecture"}
INFRASTRUCTURE = "radio.runtime"
# modules that `radio prepare` runs only for one kind of source (`source.kind` in a model's YAML)
CODE_OF_KIND = {
    "hub": {"radio.models.hub"},
    "wheel": {"radio.models.gguf"},
    "trained": {"radio.models.train", "radio.data.wikipedia"},
    "random": {"radio.models.random_weights"},
}


def digest(text: str) -> str:
    """Return the first 12 hexadecimal digits of the SHA-256 of `text`."""
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def digest_of_text(path: Path) -> str:
    """Return the `digest` of a UTF-8 file."""
    return digest(path.read_text(encoding="utf-8"))


def deciding_settings(config: Mapping[Any, Any], left_out: Collection[str] = WORDS | PLANS) -> Any:
    """Return the part of a step's configuration that decides its results.

    Args:
        config: plain Python values.
        left_out: keys that do not affect results, at any depth.
    """
    # top level only: `device` is also a key of figures
    numbers = {key: value for key, value in config.items() if key not in MACHINE}
    return _without(numbers, left_out)


def step_code_digest(step: str, config: Mapping[Any, Any], package: Path = PACKAGE) -> str:
    """Return the digest of the code that `step` runs under its configuration.

    Args:
        step: name of the step.
        config: plain Python values; each `_target_` names a module that the step runs.
        package: folder of the code.
    """
    values = list(walk(config))
    targets = {value.rpartition(".")[0] for key, value in values if key == "_target_"}
    source = (config.get("model") or {}).get("source") or {}
    used = CODE_OF_KIND.get(str(source.get("kind")), set())
    of_other_kinds = set().union(*CODE_OF_KIND.values()) - used
    return code_digest({f"radio.steps.{step}", *targets}, package, of_other_kinds - targets)


def code_digest(
    modules: Iterable[str], package: Path = PACKAGE, skipped: Collection[str] = ()
) -> str:
    """Return the digest of `modules` and of all modules of the package that they import.

    Imports are followed to any depth. Modules of `radio.runtime` and those in `skipped` are not
    included. For modules that are compiled on first use, the sources in their folder `csrc` are.
    """
    found: dict[str, str] = {}
    waiting = list(modules)
    while waiting:
        name = waiting.pop()
        if name in found or name in skipped or name.startswith(INFRASTRUCTURE):
            continue
        source = _file(name, package)
        if source is not None:
            found[name], imported = _code(source, package)
            waiting.extend(imported)
            compiled = sorted(source.parent.glob("csrc/*"))
            found |= {f"csrc/{path.name}": digest_of_text(path) for path in compiled}
    return digest(repr(sorted(found.items())))


def walk(config: Any) -> Iterator[tuple[str, Any]]:
    """Yield all keys and values of a configuration, at any depth."""
    if isinstance(config, dict):
        for key, value in config.items():
            yield str(key), value
            yield from walk(value)
    elif isinstance(config, list):
        for value in config:
            yield from walk(value)


@cache
def _code(source: Path, package: Path) -> tuple[str, tuple[str, ...]]:
    """Return the digest of a file's syntax tree without docstrings, and the modules it imports."""
    tree = _parsed(source)
    imported = tuple(sorted(set(_imports(tree, package))))
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0] if node.body else None
            if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
                node.body = node.body[1:]
    return digest(ast.dump(tree)), imported


def _parsed(source: Path) -> ast.Module:
    return ast.parse(source.read_text(encoding="utf-8"))


def _imports(tree: ast.Module, package: Path) -> Iterator[str]:
    """Yield the modules of the package that a file imports; re-exports are followed."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.startswith("radio."))
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("radio"):
            yield from (_home(str(node.module), alias.name, package) for alias in node.names)


def _home(module: str, name: str, package: Path) -> str:
    """Return the module that defines `name` in `from module import name`."""
    if _file(f"{module}.{name}", package) is not None:
        return f"{module}.{name}"
    source = _file(module, package)
    if source is not None and source.name == "__init__.py":
        for node in ast.walk(_parsed(source)):
            if isinstance(node, ast.ImportFrom) and name in {alias.name for alias in node.names}:
                return _home(str(node.module), name, package)
    return module


@cache
def _file(module: str, package: Path) -> Path | None:
    """Return a module's source: under `package` for our own, else where Python finds it."""
    if module.split(".")[0] != "radio":
        spec = importlib.util.find_spec(module)
        return Path(spec.origin) if spec and spec.origin else None
    path = package.joinpath(*module.split(".")[1:])
    found = (path / "__init__.py", path.with_name(f"{path.name}.py"))
    return next((file for file in found if file.is_file()), None)


def _without(config: Any, keys: Collection[str]) -> Any:
    """Return the configuration without `keys`, at any depth."""
    if isinstance(config, dict):
        return {key: _without(value, keys) for key, value in config.items() if key not in keys}
    return config
