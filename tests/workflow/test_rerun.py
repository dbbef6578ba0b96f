"""What an edit makes Snakemake do again, and the report, with steps that only pretend to work."""

import itertools
import os
import re
import shutil
import subprocess
from pathlib import Path

import pandas as pd
import pytest
from matplotlib.figure import Figure

from radio.report.reproduction.page import page
from radio.report.writer import save_document
from radio.runtime.compose import compose_step, steps
from tests.workflow.snake import ROOT, job_counts, snakemake

pytestmark = pytest.mark.slow

PRETENDER = """
import pathlib, sys, time

def main():
    began = time.time()
    time.sleep(0.1)
    out = next(word for word in sys.argv if word.startswith("out="))
    path = pathlib.Path(out.removeprefix("out=").strip("'"))
    for suffix in (path.suffix, ".json", ".md", ".pdf", ".html"):
        path.with_suffix(suffix).write_text(f"{sys.argv[1]} {began} {time.time()}")
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
    snakemake(root, "--cores", "2", "--max-threads", "1", root=root)
    return root


def pending(root: Path, *arguments: str) -> dict[str, int]:
    """How many jobs of each rule Snakemake would run now."""
    return job_counts(snakemake(root, "--dry-run", *arguments, root=root))


def test_a_second_time_there_is_nothing_to_do(copy: Path) -> None:
    assert "Nothing to be done" in snakemake(copy, "--cores", "2", root=copy)


def test_the_gpu_is_for_one_job_at_a_time(copy: Path) -> None:
    """Though there are two processors, and each job has one."""
    told = [path.read_text().split() for path in copy.glob("results/*/**/*.safetensors")]
    of_gpu = {"reference", "calibrate", "quantize"}  # `evaluate` leaves a CSV
    spans = sorted((float(began), float(ended)) for step, began, ended in told if step in of_gpu)
    assert len(spans) == 1 + 1 + 7
    assert all(before[1] < after[0] for before, after in itertools.pairwise(spans))
    rules = "".join(path.read_text() for path in (ROOT / "workflow/rules").glob("*.smk"))
    for step in steps():
        declared = "gpu=1," in rules.partition(f"rule {step}:")[2].partition("shell:")[0]
        assert declared == ("device" in compose_step(step)), step


def test_time_stamps_and_words_make_nothing_anew(copy: Path) -> None:
    os.utime(copy / "results/smollm2-135m/model.json")
    os.utime(copy / "config/model/smollm2-135m.yaml")
    for path in ("config/method/rtn.yaml", "radio/quantize/methods/rtn.py", "Snakefile"):
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


CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
NUMBERS = ("ours", "difference", "tolerance", "quantity", "note")
CELL = {"table": "table_1", "cell": "opt-125m, radio", "verdict": "not run", "paper": 27.23}


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium: apt-get install chromium")
def test_the_report_is_one_file_with_the_ledger_in_front(copy: Path) -> None:
    """As a browser without a network shows it: first the ledger, then each figure."""
    figures = ["rate_distortion_smollm2", "staircase"]
    paths = [f"results/figures/{name}.png" for name in figures]
    snakemake(copy, "--cores", "2", "results/ledger.csv", *paths, root=copy)
    for path in paths:
        Figure(figsize=(1, 1)).savefig(copy / path)
    ledger = pd.DataFrame([CELL | dict.fromkeys(NUMBERS)])
    save_document(
        page(ledger, {"table_1": {"title": "WikiText2", "embedded": []}}),
        copy / "results/ledger.html",
    )
    targets = ["--", "results/ledger.csv", "results/table_smollm2.csv", *paths]
    snakemake(copy, "--report", "report.html", *targets, root=copy)
    report = (copy / "report.html").read_text()
    front = rendered(copy, report, "")
    assert "<h1>Ledger</h1>" in front and "27.23" in front
    menu = [front.index(f">{name}<") for name in ("Figures", "Ledger", "Tables")]
    assert all(menu)
    for name, path in zip(figures, paths, strict=True):
        shown = rendered(copy, report, f"app.showResultInfo({path!r})")
        assert f"</strong>: {name}" in shown and "Caveat" in shown
        assert "System Message" not in shown
        assert f'"{path}":' in report and "data:image/png" in report
    table = rendered(copy, report, 'app.showResultInfo("results/table_smollm2.csv")')
    assert "4-bit lattice" in table and "System Message" not in table
    assert not re.search(r"<(script|link|img)[^>]* (src|href)=.?http", report)


def rendered(folder: Path, report: str, script: str) -> str:
    """What a browser makes of the report once it has run `script`, less the report's own code."""
    head, _, tail = report.rpartition("</body>")
    path = folder / "opened.html"
    path.write_text(f"{head}<script>setTimeout(() => {{ {script} }}, 300)</script></body>{tail}")
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=2000"]
    answer = subprocess.run(
        [str(CHROMIUM), *flags, f"--user-data-dir={folder}/chromium", "--dump-dom", path.as_uri()],
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    )
    return re.sub(r"<(script|style).*?</\1>", "", answer.stdout, flags=re.DOTALL)
