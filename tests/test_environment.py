"""One environment, told three times: pyproject.toml, constraints.txt, environment.yml agree."""

import importlib.metadata
import tomllib
from collections import Counter
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
DIRECT = [
    Requirement(line)
    for line in (*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["dev"])
]
PINS = [
    Requirement(line)
    for line in (ROOT / "constraints.txt").read_text().splitlines()
    if not line.startswith("#")
]
ENVIRONMENT = yaml.safe_load((ROOT / "environment.yml").read_text())


def pinned_version(pin: Requirement) -> Version:
    (exact,) = pin.specifier
    assert exact.operator == "==" and not exact.version.endswith("*"), f"{pin} is no exact pin"
    return Version(exact.version)


VERSION = {canonicalize_name(pin.name): pinned_version(pin) for pin in PINS}


def test_every_pin_stands_once_and_sorted() -> None:
    names = [canonicalize_name(pin.name) for pin in PINS]
    assert max(Counter(names).values()) == 1
    cuda = [name for name in names if name.startswith(("cuda-", "nvidia-"))]
    rest = [name for name in names if name not in cuda]
    assert names == sorted(rest) + sorted(cuda)


@pytest.mark.parametrize("requirement", DIRECT, ids=str)
def test_direct_dependency_is_bounded_and_its_pin_is_within(requirement: Requirement) -> None:
    assert {spec.operator for spec in requirement.specifier} == {">=", "<"}
    assert requirement.specifier.contains(VERSION[canonicalize_name(requirement.name)])


@pytest.mark.parametrize("requirement", DIRECT, ids=lambda requirement: requirement.name)
def test_what_a_dependency_needs_is_pinned(requirement: Requirement) -> None:
    """Depth first through the installed metadata: nothing floats."""
    waiting, seen = [(requirement.name, frozenset(requirement.extras))], set()
    while waiting:
        name, extras = waiting.pop()
        if (name, extras) in seen:
            continue
        seen.add((name, extras))
        assert canonicalize_name(name) in VERSION, f"{name}, which {requirement.name} needs"
        for line in importlib.metadata.requires(name) or ():
            needed = Requirement(line)
            environments = [{"extra": extra} for extra in (*extras, "")]
            if needed.marker is None or any(map(needed.marker.evaluate, environments)):
                waiting.append((needed.name, frozenset(needed.extras)))


def test_conda_users_get_the_same() -> None:
    assert ENVIRONMENT["name"] == PROJECT["name"]
    *conda, pip = ENVIRONMENT["dependencies"]
    assert conda == ["python=3.11", "pip"]
    constraint, *requirements, editable = pip["pip"]
    assert constraint == "--constraint constraints.txt"
    assert editable == "--editable .[dev]"
    for requirement in map(Requirement, requirements):
        assert pinned_version(requirement) == VERSION[canonicalize_name(requirement.name)]
    assert Version("3.11") in Requirement(f"python{PROJECT['requires-python']}").specifier


def test_makefile_installs_the_same() -> None:
    makefile = (ROOT / "Makefile").read_text()
    torch = f"torch=={VERSION['torch']}"
    assert f"--constraint constraints.txt {torch} --editable .[dev]" in makefile
    assert torch in ENVIRONMENT["dependencies"][-1]["pip"]
