"""Recipes: a digest of all that decides a job's numbers, so that an edit re-runs exactly its users.

A recipe hashes the composed configuration, the code of the modules that the step runs, and the
recipes of the jobs upstream. Comments, docstrings, labels and the settings of the machine (threads,
W&B, paths) are left out, so editing them costs nothing; time stamps play no part.
"""

import ast
import hashlib
import importlib.util
from collections.abc import Collection, Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from radio.experiments import MACHINE, Job, Plan, job

# words of the report, which reads them from the YAML files itself
WORDS = {"label", "note", "title"}
# what only plans go by
PLANS = {"architecture"}
REPORT = {"table", "figure"}
INFRASTRUCTURE = "radio.runtime"
# what `radio prepare` runs for one kind of source alone (`source.kind` in a model's YAML)
CODE_OF_KIND = {
    "hub": {"radio.models.hub"},
    "wheel": {"radio.models.gguf"},
    "trained": {"radio.models.train", "radio.data.wikipedia"},
    "random": {"radio.models.random_weights"},
}


def recipe(plan: Plan, step: str, **names: str) -> str:
    """Digest of the job of `step` with the wildcards `names`, 12 hexadecimal digits."""
    return _recipe(plan, job(step, names))


@cache
def _recipe(plan: Plan, of: Job) -> str:
    # of each rate the same but for the rate, which is in the job's names
    names = {name: value for name, value in of.names if name != "rate"}
    config = OmegaConf.to_container(plan.compose(of.step, **names), resolve=False)
    assert isinstance(config, dict)
    tables = [of, *plan.upstream(of)] if of.step in REPORT else []
    shown = [
        _words(plan, dict(table.names)["experiment"]) for table in tables if table.step == "table"
    ]
    if of.step == "ledger":
        shown.append(_files(plan, "paper/*.csv", "experiment/*.yaml"))
    # of the top level alone: `device` is also a word of figures
    told = {key: value for key, value in config.items() if key not in MACHINE}
    numbers = _without(told, PLANS if of.step in REPORT else PLANS | WORDS)
    targets = _targets(config)
    skipped = _code_of_other_kinds(config) - targets
    code = code_digest({f"radio.steps.{of.step}", *targets}, plan.package, skipped)
    upstream = [_recipe(plan, above) for above in plan.upstream(of)]
    return _digest(repr((of, numbers, shown, code, upstream)))


def code_digest(modules: Iterable[str], package: Path, skipped: Collection[str] = ()) -> str:
    """Digest of `modules` and of all modules of the package that they import, at any depth.

    Modules of `radio.runtime` and those in `skipped` do not count. Of modules that are compiled on
    first use, the sources in the folder `csrc` beside them do.
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
            found |= {f"csrc/{path.name}": _digest(path.read_text()) for path in compiled}
    return _digest(repr(sorted(found.items())))


@cache
def _code(source: Path, package: Path) -> tuple[str, tuple[str, ...]]:
    """Digest of a file's syntax without docstrings, and the modules it imports."""
    tree = ast.parse(source.read_text())
    imported = tuple(sorted(set(_imports(tree, package))))
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0] if node.body else None
            if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
                node.body = node.body[1:]
    return _digest(ast.dump(tree)), imported


def _imports(tree: ast.Module, package: Path) -> Iterator[str]:
    """Modules of the package that a file imports; a name re-exported is followed to its home."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.startswith("radio."))
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("radio"):
            yield from (_home(str(node.module), alias.name, package) for alias in node.names)


def _home(module: str, name: str, package: Path) -> str:
    """Module that defines `name` of `from module import name`."""
    if _file(f"{module}.{name}", package) is not None:
        return f"{module}.{name}"
    source = _file(module, package)
    if source is not None and source.name == "__init__.py":
        for node in ast.walk(ast.parse(source.read_text())):
            if isinstance(node, ast.ImportFrom) and name in {alias.name for alias in node.names}:
                return _home(str(node.module), name, package)
    return module


@cache
def _file(module: str, package: Path) -> Path | None:
    """Source of a module: of ours under `package`, of others wherever Python finds them."""
    if module.split(".")[0] != "radio":
        spec = importlib.util.find_spec(module)
        return Path(spec.origin) if spec and spec.origin else None
    path = package.joinpath(*module.split(".")[1:])
    found = (path / "__init__.py", path.with_name(f"{path.name}.py"))
    return next((file for file in found if file.is_file()), None)


def _targets(config: Any) -> set[str]:
    """Modules of all `_target_` in a configuration."""
    found = set()
    for key, value in _walk(config):
        if key == "_target_":
            found.add(value.rpartition(".")[0])
    return found


def _code_of_other_kinds(config: Any) -> set[str]:
    """Modules that only other kinds of sources run than the model's."""
    source = (config.get("model") or {}).get("source") or {}
    used = CODE_OF_KIND.get(str(source.get("kind")), set())
    return set().union(*CODE_OF_KIND.values()) - used


def _walk(config: Any) -> Iterator[tuple[str, Any]]:
    """All keys and values at any depth."""
    if isinstance(config, dict):
        for key, value in config.items():
            yield str(key), value
            yield from _walk(value)
    elif isinstance(config, list):
        for value in config:
            yield from _walk(value)


def _without(config: Any, keys: set[str]) -> Any:
    """The configuration less `keys`, at any depth."""
    if isinstance(config, dict):
        return {key: _without(value, keys) for key, value in config.items() if key not in keys}
    return config


def _words(plan: Plan, experiment: str) -> list[Any]:
    """What a report says beside the numbers: labels, notes and the paper's values."""
    cells = plan.experiment(experiment)
    parts = [
        *(plan.compose("prepare", model=name).model for name in cells.models),
        *(plan.compose("tokenize", data=name).data for name in cells.data),
        *(plan.compose("quantize", method=name).method for name, _ in cells.cells),
        *(part for name in cells.tasks for part in _tasks(plan, name)),
    ]
    words = [(part.get("label"), part.get("note")) for part in parts]
    return [*words, *_files(plan, "paper/*.csv")]


def _files(plan: Plan, *patterns: str) -> list[str]:
    """Digests of configuration files."""
    paths = [path for pattern in patterns for path in sorted(plan.config.glob(pattern))]
    return [_digest(path.read_text()) for path in paths]


def _tasks(plan: Plan, name: str) -> list[Any]:
    """Tasks of a set and their averages."""
    tasks = plan.compose("downstream", tasks=name).tasks
    return [*tasks.tasks.values(), *tasks.averages.values()]


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]
