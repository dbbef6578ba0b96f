"""Arguments of a class or function, read from its source without importing it.

Settings are checked when a job graph is built, and importing torch takes seconds. Annotations that
only an import could resolve become `Any`. A class or function that is not defined in the source of
its module is imported.
"""

import ast
import builtins
import collections.abc
import importlib
import importlib.util
import typing
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from radio.runtime import kinds

PACKAGE = Path(__file__).resolve().parents[1]
Definition = ast.ClassDef | ast.FunctionDef


@dataclass(frozen=True)
class Signature:
    """The arguments that a call accepts.

    Attributes:
        hints: type hint of each argument.
        required: names of arguments without a default.
        is_open: whether other keyword arguments are accepted too.
    """

    hints: dict[str, Any]
    required: frozenset[str]
    is_open: bool = False


# for a definition that is not in the source: any arguments
UNKNOWN = Signature({}, frozenset(), is_open=True)


@cache
def signature(target: str) -> Signature:
    """Return the arguments of the class or function with the dotted name `target`.

    Raises:
        LookupError: it does not exist; the message says which part is missing.
    """
    module, _, name = target.rpartition(".")
    found = _definition(module, name)
    if found is not None:
        return _signature(*found)
    _import(module, name)
    return UNKNOWN


def source_file(module: str) -> Path | None:
    """Return a module's source file; for this package, without importing anything.

    Return None if the module does not exist or has no source.
    """
    if module.split(".")[0] == "radio":
        path = PACKAGE.joinpath(*module.split(".")[1:])
        files = (path / "__init__.py", path.with_name(f"{path.name}.py"))
        return next((file for file in files if file.is_file()), None)
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, ValueError):
        return None
    found = Path(spec.origin) if spec is not None and spec.origin is not None else None
    return found if found is not None and found.suffix == ".py" else None


def _import(module: str, name: str) -> None:
    """Raise a `LookupError` unless the imported module has the name."""
    if not module:
        raise LookupError("a dotted name, MODULE.NAME, is needed")
    try:
        owner: object = importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise LookupError(f"there is no module {error.name}") from error
    except Exception as error:
        raise LookupError(f"module {module} fails to import with {error!r}") from error
    if not callable(getattr(owner, name, None)):
        raise LookupError(f"module {module} has no class or function {name}")


def _definition(module: str, name: str) -> tuple[Definition, str] | None:
    """Return the definition of a name and its module; None if it is not in the source."""
    tree = _tree(module)
    for node in tree.body if tree is not None else ():
        if isinstance(node, Definition) and node.name == name:
            return node, module
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            for alias in node.names:
                if name == (alias.asname or alias.name):
                    return _definition(node.module, alias.name)
    return None


@cache
def _tree(module: str) -> ast.Module | None:
    source = source_file(module) if module else None
    try:
        return None if source is None else ast.parse(source.read_text(encoding="utf-8"))
    except (OSError, SyntaxError, ValueError):
        return None


def _signature(node: Definition, module: str) -> Signature:
    """Return the arguments of a definition."""
    if isinstance(node, ast.FunctionDef):
        return _of_function(node.args, bound=False)
    for part in node.body:
        if isinstance(part, ast.FunctionDef) and part.name == "__init__":
            return _of_function(part.args, bound=True)
    bases = [_of_base(base, module) for base in node.bases]
    if not any("dataclass" in ast.unparse(each) for each in node.decorator_list):
        return bases[0] if bases else Signature({}, frozenset())
    hints: dict[str, Any] = {}
    required: set[str] = set()
    for each in reversed(bases):
        hints |= each.hints
        required |= each.required
    for name, annotation, default in _fields(node):
        hints[name] = _hint(annotation)
        required = required - {name} if default else required | {name}
    return Signature(hints, frozenset(required), any(each.is_open for each in bases))


def _of_base(base: ast.expr, module: str) -> Signature:
    """Return the arguments of a base class; empty for `ABC` and protocols."""
    name = ast.unparse(base)
    if name in ("ABC", "object", "Protocol"):
        return Signature({}, frozenset())
    found = _definition(module, name)
    return UNKNOWN if found is None else _signature(*found)


def _fields(node: ast.ClassDef) -> Iterator[tuple[str, ast.expr, bool]]:
    """Yield name, annotation and whether there is a default, for a dataclass's own fields."""
    for part in node.body:
        if not isinstance(part, ast.AnnAssign) or not isinstance(part.target, ast.Name):
            continue
        if "ClassVar" in ast.unparse(part.annotation):
            continue
        default = part.value is not None
        if isinstance(part.value, ast.Call) and ast.unparse(part.value.func).endswith("field"):
            given = {each.arg: ast.unparse(each.value) for each in part.value.keywords}
            if given.get("init") == "False":
                continue
            default = bool({"default", "default_factory"} & set(given))
        yield part.target.id, part.annotation, default


def _of_function(args: ast.arguments, *, bound: bool) -> Signature:
    """Return the arguments of a function; for a bound one, without the first."""
    positional = [*args.posonlyargs, *args.args]
    without_default = positional[: len(positional) - len(args.defaults)]
    named = [(each, each in without_default) for each in positional[int(bound) :]]
    defaults = zip(args.kwonlyargs, args.kw_defaults, strict=True)
    named += [(each, default is None) for each, default in defaults]
    return Signature(
        {each.arg: Any if each.annotation is None else _hint(each.annotation) for each, _ in named},
        frozenset(each.arg for each, needed in named if needed),
        is_open=args.kwarg is not None or args.vararg is not None,
    )


class _Names(dict[str, Any]):
    """Names used in annotations; unknown names are `Any`."""

    def __missing__(self, name: str) -> Any:
        return getattr(builtins, name, Any)


NAMES = _Names(
    {**vars(typing), **vars(collections.abc), **vars(kinds), "Path": kinds.File, "__builtins__": {}}
)


def _hint(annotation: ast.expr) -> Any:
    """Return the type of an annotation; `Any` if it uses unknown names."""
    if isinstance(annotation, ast.Constant) and isinstance(annotation.value, str):
        annotation = ast.parse(annotation.value, mode="eval").body
    try:
        return eval(ast.unparse(annotation), {"__builtins__": {}}, NAMES)
    except Exception:  # errors in annotations share no base class
        return Any
