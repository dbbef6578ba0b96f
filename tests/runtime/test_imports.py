"""A module of ours follows another's import, whichever comes first."""

import importlib
import sys

import pytest

from radio.runtime.imports import when_imported


@pytest.fixture
def modules(tmp_path, monkeypatch):
    """Modules `theirs_a` and `ours_a` in a folder of their own; what `ours_a` saw when imported."""
    (tmp_path / "theirs_a.py").write_text("whole = True\n")
    (tmp_path / "ours_a.py").write_text("import theirs_a\nseen = theirs_a.whole\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    yield
    for name in ("theirs_a", "ours_a"):
        sys.modules.pop(name, None)


def test_it_waits(modules):
    finders = list(sys.meta_path)
    when_imported("theirs_a", "ours_a")
    importlib.import_module("json")
    assert "ours_a" not in sys.modules
    importlib.import_module("theirs_a")
    assert sys.modules["ours_a"].seen
    assert sys.meta_path == finders


def test_it_comes_at_once_behind_what_is_there(modules):
    importlib.import_module("theirs_a")
    finders = list(sys.meta_path)
    when_imported("theirs_a", "ours_a")
    assert sys.modules["ours_a"].seen
    assert sys.meta_path == finders


def test_what_is_not_there_stays_an_error(modules):
    when_imported("no_such_module_a", "ours_a")
    with pytest.raises(ModuleNotFoundError, match="no_such_module_a"):
        importlib.import_module("no_such_module_a")
