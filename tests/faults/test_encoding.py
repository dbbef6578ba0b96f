"""Text files are read and written as UTF-8, whatever the locale says."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "radio"
# the calls that open a text file, and the position of the mode among their arguments
CALLS = {"read_text": None, "write_text": None, "open": 1}
SOURCES = sorted(PACKAGE.rglob("*.py"))


def opened_in_the_locale(tree: ast.AST) -> Iterator[int]:
    """Yield the lines of calls that open a text file without an encoding."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        is_method = isinstance(node.func, ast.Attribute)
        name = getattr(node.func, "attr" if is_method else "id", None)
        if name not in CALLS or any(word.arg == "encoding" for word in node.keywords):
            continue
        if name == "open" and ast.unparse(node.func) in (
            "os.open",
            "bz2.open",
            "gzip.open",
            "archive.open",
        ):
            continue  # bytes, unless the mode has a t, which no call here has
        arguments = [*node.args, *(word.value for word in node.keywords if word.arg == "mode")]
        modes = [each.value for each in arguments if isinstance(each, ast.Constant)]
        if name == "open" and any("b" in str(mode) and len(str(mode)) <= 3 for mode in modes):
            continue
        if (name == "read_text" and node.args) or (name == "write_text" and len(node.args) > 1):
            continue
        yield node.lineno


@pytest.mark.parametrize(
    "code, found",
    [
        ("path.read_text()", True),
        ("path.write_text(x)", True),
        ("open(x)", True),
        ("path.open('w')", True),
        ("path.open(mode='r')", True),
        ("path.open('rb')", False),
        ("open(x, 'wb')", False),
        ("path.read_text(encoding='utf-8')", False),
        ("open(x, encoding='utf-8')", False),
        ("os.open(x, 0)", False),
    ],
)
def test_the_search_finds_them(code, found):
    assert bool(list(opened_in_the_locale(ast.parse(code)))) == found


def test_every_text_file_has_its_encoding():
    found = [
        f"{path.relative_to(PACKAGE)}:{line}"
        for path in SOURCES
        for line in opened_in_the_locale(ast.parse(path.read_text(encoding="utf-8")))
    ]
    assert found == []
