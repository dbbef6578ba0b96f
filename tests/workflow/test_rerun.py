"""What an edit makes Snakemake do again, with steps that only pretend to work."""

import os
import shutil
from pathlib import Path

import pytest

from tests.workflow.snake import ROOT, job_counts, snakemake

pytestmark = pytest.mark.slow

PRETENDER = """
import pathlib, sys

def main():
    out = next(word for word in sys.argv if word.startswith("out="))
    path = pathlib.Path(out.removeprefix("out=").strip("'"))
    for suffix in (path.suffix, ".json", ".md", ".pdf"):
        path.with_suffix(suffix).write_text(sys.argv[1])
"""


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project at a place of its own, its main table pretended to be made."""
    root = tmp_path_factory.mktemp("project")
    for name in ("Snakefile", "environment.yml", "config", "workflow", "radio"):
        source = ROOT / name
        (shutil.copytree if source.is_dir() else shutil.copy)(source, root / name)
    (root / "profiles").symlink_to("workflow/profiles")
    (root / "radio/cli.py").write_text(PRETENDER)
    snakemake(root, "--cores", "2", root=root)
    return root


def pending(root: Path, *arguments: str) -> dict[str, int]:
    """How many jobs of each rule Snakemake would run now."""
    return job_counts(snakemake(root, "--dry-run", *arguments, root=root))


def test_a_second_time_there_is_nothing_to_do(copy: Path) -> None:
    assert "Nothing to be done" in snakemake(copy, "--cores", "2", root=copy)


def test_time_stamps_and_words_make_nothing_anew(copy: Path) -> None:
    os.utime(copy / "results/smollm2-135m/model.json")
    os.utime(copy / "config/model/smollm2-135m.yaml")
    for path in ("config/method/rtn.yaml", "radio/methods/rtn.py", "Snakefile"):
        with (copy / path).open("a") as file:
            file.write("\n# a comment\n")
    assert pending(copy) == {}


def test_an_edited_method_makes_its_own_anew(copy: Path) -> None:
    path = copy / "config/method/rtn.yaml"
    before = path.read_text()
    path.write_text(before.replace("group_cols: null", "group_cols: 64"))
    expected = {"quantize": 2, "evaluate": 2, "table": 1, "figure": 1, "all": 1}
    assert pending(copy) == expected
    path.write_text(before)
    assert pending(copy) == {}


def test_what_git_does_not_keep_is_made_anew_in_a_clone(copy: Path, tmp_path: Path) -> None:
    """A clone has the table but not its manifest, and must not take it for its own."""
    (tmp_path / "results").mkdir()
    shutil.copy(copy / "results/table_smollm2.csv", tmp_path / "results")
    output = snakemake(tmp_path, "--dry-run", root=copy)
    assert job_counts(output)["evaluate"] == 7
