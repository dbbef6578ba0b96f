"""Import a module as soon as another one is imported."""

import importlib
import sys
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from types import ModuleType
from typing import Any


def when_imported(name: str, ours: str) -> None:
    """Import the module `ours` right after the module `name`; now if `name` is already imported."""
    if name in sys.modules:
        importlib.import_module(ours)
    else:
        sys.meta_path.insert(0, _Follower(name, ours))


class _Follower(MetaPathFinder):
    """Wait for one module to be looked up; let its loader import another one afterwards."""

    def __init__(self, name: str, ours: str) -> None:
        self.name, self.ours = name, ours

    def find_spec(self, name: str, _path: Any, _target: Any = None) -> ModuleSpec | None:
        """Return the spec that other finders give, loader extended; None for other modules."""
        if name != self.name:
            return None
        sys.meta_path.remove(self)
        spec = find_spec(name)
        if spec is not None and spec.loader is not None:
            self._follow(spec.loader)
        return spec

    def _follow(self, loader: Any) -> None:
        execute = loader.exec_module

        def exec_module(module: ModuleType) -> None:
            execute(module)
            importlib.import_module(self.ours)

        loader.exec_module = exec_module
