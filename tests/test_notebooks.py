"""The notebooks are stored bare, and run from top to bottom on a tiny model."""

import os
import re
from pathlib import Path

import nbformat
import pandas as pd
import pytest
from nbclient import NotebookClient
from nbformat import NotebookNode

from tests.workflow.snake import ROOT, job_counts, snakemake

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
PAGE = ROOT / "docs/adding_a_baseline.md"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where results go; the tiny model is made once for all."""
    return tmp_path_factory.mktemp("notebooks")


def read(name: str) -> NotebookNode:
    return nbformat.read(ROOT / "notebooks" / name, as_version=4)


def executed(name: str, folder: Path) -> NotebookNode:
    """The notebook as it is after a run in the fast setting, in `folder`."""
    notebook = read(name)
    client = NotebookClient(
        notebook, kernel_name="python3", timeout=600, resources={"metadata": {"path": str(folder)}}
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(ROOT))
        patch.setenv("RADIO_FAST", "1")
        client.execute()
    return notebook


def shown(notebook: NotebookNode, kind: str) -> list[str]:
    """What the cells show of a MIME type."""
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    return [each["data"][kind] for each in outputs if kind in each.get("data", {})]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_stored_without_outputs(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            assert cell.outputs == [] and cell.execution_count is None
        assert "execution" not in cell.metadata
    assert notebook.cells[0].source.startswith("# ")
    for target in re.findall(
        r"\]\((?!https?:)([^)]+)\)", "\n".join(c.source for c in notebook.cells)
    ):
        assert (path.parent / target).exists(), target


@pytest.mark.slow
def test_theory_agrees_with_simulation(folder: Path) -> None:
    """What it claims is asserted in its cells."""
    notebook = executed("01_rate_distortion.ipynb", folder)
    assert len(shown(notebook, "image/png")) == 4


@pytest.mark.slow
@pytest.mark.timeout(900)  # half a minute on two cores of one's own
def test_a_model_is_compressed_to_a_size(folder: Path) -> None:
    notebook = executed("02_compress_a_model.ipynb", folder)
    (file,) = folder.glob("results/smoke-llama2/packed/*/model.safetensors")
    assert 0.8e6 < file.stat().st_size <= 0.9e6
    assert len(shown(notebook, "image/png")) == 1


@pytest.mark.slow
@pytest.mark.timeout(900)  # a minute on two cores of one's own
def test_the_files_of_the_page_make_a_row(folder: Path) -> None:
    """They stand in the notebook as on the page; an edit makes the method's row anew, no other."""
    name = "03_add_a_baseline.ipynb"
    cells = [cell.source.partition("\n") for cell in read(name).cells]
    magic = "%%writefile "
    written = {
        head.removeprefix(magic): body + "\n" for head, _, body in cells if head.startswith(magic)
    }
    page = dict(re.findall(r'^```\w+ title="(.+)"\n([^`]+)^```', PAGE.read_text(), re.M))
    assert written == page

    notebook = executed(name, folder)
    table = pd.read_csv(folder / "results/mine.csv").set_index("method")
    assert list(table.index) == ["rtn", "ternary"]
    assert table.mean_depth["ternary"] == 2 < table.bpw["ternary"]
    assert 0 < table.kl["ternary"] < table.kl["rtn"]
    assert "| Ternary |" in shown(notebook, "text/markdown")[0]

    module = folder / "mine/ternary.py"
    module.write_text(module.read_text().replace("min=1)", "min=2)"))
    variables = {
        "PYTHONPATH": f"{ROOT}{os.pathsep}{folder / 'mine'}",
        "RADIO_CONFIG_DIRS": str(folder / "mine/config"),
    }
    pending = job_counts(snakemake(folder, "--dry-run", "results/mine.csv", **variables))
    assert pending == {"quantize": 1, "evaluate": 1, "table": 1}
