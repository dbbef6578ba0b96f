"""Imports point one way, and name only what pyproject.toml declares."""

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "radio"
# from the lowest layer up; a module belongs to its longest prefix here
LAYERS = [
    "runtime",
    "rate workflow.variants",
    "theory",
    "pack.bits pack.checks pack.floats",
    "pack.codecs",
    "kernels",
    "models data",
    "resources.model_shape",
    "resources.planned_shape resources.memory_estimate resources.flops resources.machine_limits",
    "calibrate",
    "allocate",
    "quantize",
    "pack.header",
    "pack.file",
    "pack.streamed pack.hf",
    "targets.least_rate targets.bytes",
    "resources.file_size resources.load_within_memory",
    "evaluate",
    "benchmark",
    "targets.search",
    "paper_loop",
    "report",
    "workflow",
    "resources.job_estimate",
    "resources.cluster",
    "steps",
    "commands",
    "api cli",
    "__main__",
]
RANK = {name: rank for rank, layer in enumerate(LAYERS) for name in layer.split()}
# packages whose parts have ranks of their own
SPLIT = {"pack", "targets", "resources"}
SOURCES = sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")
# the distribution that a module comes with, where the name is another
DISTRIBUTION = {"hydra": "hydra-core", "lm_eval": "lm-eval", "yaml": "pyyaml", "PIL": "pillow"}
# matplotlib's and datasets', for tests to look at and make their files
THROUGH_ANOTHER = {"pillow", "pyarrow"}


def imports(path: Path) -> Iterator[str]:
    """Full names of what a file imports."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} has a relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def layer_of(module: str) -> str:
    """Longest prefix of a dotted module name below `radio` that has a rank."""
    parts = module.split(".")
    prefixes = (".".join(parts[:count]) for count in range(len(parts), 0, -1))
    return next((prefix for prefix in prefixes if prefix in RANK), parts[0])


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_to_lower_layers(path: Path) -> None:
    module = ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__")
    own = layer_of(module)
    for name in imports(path):
        if name.startswith("radio."):
            layer = layer_of(name.removeprefix("radio."))
            assert layer == own or RANK[layer] < RANK[own], f"{path} imports {name}"


def test_every_layer_exists() -> None:
    modules = {".".join(path.relative_to(PACKAGE).with_suffix("").parts) for path in SOURCES}
    layers = {layer_of(module.removesuffix(".__init__")) for module in modules}
    assert layers == set(RANK) | SPLIT


def test_third_party_imports_are_declared() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    runtime = {_name(line) for line in project["dependencies"]}
    dev = runtime | {_name(line) for line in project["optional-dependencies"]["dev"]}
    own = {"radio", "tests", *sys.stdlib_module_names}
    for folder, declared in ((PACKAGE, runtime), (ROOT / "tests", dev)):
        for path in folder.rglob("*.py"):
            for top in {name.split(".")[0] for name in imports(path)} - own:
                package = DISTRIBUTION.get(top, top).replace("_", "-")
                assert package in declared | THROUGH_ANOTHER, f"{path} imports {top}"


def test_help_imports_nothing_heavy() -> None:
    """`radio --help` is immediate, since what it runs needs neither torch nor pandas."""
    heavy = {"torch", "transformers", "datasets", "pandas", "wandb", "matplotlib", "safetensors"}
    waiting, seen = ["cli", "workflow/graph", "workflow/fingerprint", "runtime/compose"], set()
    while waiting:
        stem = waiting.pop()
        seen.add(stem)
        tree = ast.parse((PACKAGE / f"{stem}.py").read_text())
        for node in tree.body:
            if isinstance(node, ast.Import | ast.ImportFrom):
                names = [str(getattr(node, "module", None)), *(item.name for item in node.names)]
                assert not {name.split(".")[0] for name in names} & heavy, stem
                inside = str(names[0]).removeprefix("radio.").replace(".", "/")
                if (PACKAGE / f"{inside}.py").is_file() and inside not in seen:
                    waiting.append(inside)


def _name(requirement: str) -> str:
    return re.split(r"[^\w-]", requirement, maxsplit=1)[0].lower()
