"""An edit re-runs exactly its users."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from radio.runtime.compose import CONFIG, PACKAGE
from radio.workflow import Job, JobGraph, job
from radio.workflow.fingerprint import fingerprint

NOBODY: set[str] = set()
REPORT = {"table", "figure"}
RTN = {"quantize rtn", "evaluate rtn", *REPORT}
RTNS = {*RTN, "quantize rtn-g128", "evaluate rtn-g128"}
RADIO = {"allocate radio", "quantize radio", "evaluate radio", *REPORT}
CALIBRATED = {"calibrate", *RADIO}
EVALUATED = {f"evaluate {method}" for method in ("fp16", "rtn", "rtn-g128", "radio")}
QUANTIZED = {f"quantize {method}" for method in ("fp16", "rtn", "rtn-g128", "radio")}
TOKENIZED = {"tokenize", "reference", *EVALUATED, *CALIBRATED}
ALL = {"prepare", *TOKENIZED, *QUANTIZED}


def recipes(config: Path, package: Path) -> dict[Job, str]:
    """Recipes of all jobs behind the main table's figure."""
    plan = JobGraph(config=config, package=package)
    waiting, found = [job("figure", {"figure": "rate_distortion_smollm2"})], {}
    while waiting:
        each = waiting.pop()
        found[each] = fingerprint(plan, each.step, **dict(each.names))
        waiting.extend(plan.upstream(each))
    return found


@pytest.fixture(scope="module")
def before() -> dict[Job, str]:
    return recipes(CONFIG, PACKAGE)


def test_every_job_has_a_recipe_of_its_own(before: dict[Job, str]) -> None:
    assert len(before) == 1 + 1 + 7 + 7 + 2 + 1 + 1 + 1 + 1
    assert len(set(before.values())) == len(before)


@pytest.mark.parametrize(
    "file, old, new, users",
    [
        ("method/rtn.yaml", "group_cols: null", "group_cols: 64", RTN),
        ("method/rtn.yaml", "label: ", "label: My ", REPORT),
        ("method/radio.yaml", "scale_fit: search", "scale_fit: moments", RADIO),
        ("calibration/random-sign.yaml", "sequences: 64", "sequences: 65", CALIBRATED),
        ("data/wikipedia.yaml", "context_tokens: 512", "context_tokens: 256", TOKENIZED),
        ("common.yaml", "seed: 0", "seed: 1", ALL),
        ("paper/caveats.csv", "\n", "\n\n", REPORT),
    ],
)
def test_an_edited_yaml_changes_the_recipes_of_its_users(
    before: dict[Job, str], tmp_path: Path, file: str, old: str, new: str, users: set[str]
) -> None:
    config = shutil.copytree(CONFIG, tmp_path / "config")
    edit(config / file, old, new)
    assert changed(before, recipes(config, PACKAGE)) == users


def test_edits_that_decide_no_number_of_the_table(before: dict[Job, str], tmp_path: Path) -> None:
    config = shutil.copytree(CONFIG, tmp_path / "config")
    edit(config / "method/rtn.yaml", "# ", "# more ")
    edit(config / "data/c4.yaml", "joined_documents: 1100", "joined_documents: 9")
    edit(config / "model/opt-125m.yaml", "group_rows: 768", "group_rows: 512")
    edit(config / "common.yaml", "mode: auto", "mode: disabled")
    edit(config / "common.yaml", "threads: null", "threads: 1")
    edit(config / "device.yaml", "RADIO_DEVICE,auto", "RADIO_DEVICE,cpu")
    assert recipes(config, PACKAGE) == before


def test_settings_of_the_machine_are_known_by_their_place(tmp_path: Path) -> None:
    """`device` is also what the times of a figure are of."""
    found = set()
    for device in ("A100", "H100"):
        config = shutil.copytree(CONFIG, tmp_path / device)
        edit(config / "figure/scaling.yaml", "device: A100", f"device: {device}")
        edit(
            config / "figure/scaling.yaml", "\n  - {step: table, experiment: table_scaling}", " []"
        )
        found.add(fingerprint(JobGraph(config=config), "figure", figure="scaling"))
    assert len(found) == 2


@pytest.mark.parametrize(
    "file, users",
    [
        ("quantize/methods/rtn.py", RTNS),
        ("quantize/methods/radio.py", RADIO),
        ("calibrate/random_sign.py", CALIBRATED),
        ("allocate/layers.py", RADIO),
        ("quantize/method_inputs.py", {*QUANTIZED, *EVALUATED, *REPORT}),
        ("data/wikipedia.py", TOKENIZED),
        ("data/hub.py", NOBODY),
        ("models/gguf.py", ALL),
        ("models/hub.py", NOBODY),
        ("models/train.py", NOBODY),
        ("runtime/progress.py", NOBODY),
        ("report/figures/rate_distortion.py", {"figure"}),
        ("report/columns.py", REPORT),
        ("evaluate/perplexity.py", {*EVALUATED, *REPORT}),
    ],
)
def test_edited_code_changes_the_recipes_of_its_users(
    before: dict[Job, str], tmp_path: Path, file: str, users: set[str]
) -> None:
    package = copied_package(tmp_path)
    path = package / file
    path.write_text(path.read_text() + "\nEDITED = True\n")
    assert changed(before, recipes(CONFIG, package)) == users


@pytest.mark.parametrize(
    "file, users",
    [
        ("kernels/csrc/lanes.h", {"bench", "decode"}),
        ("benchmark/ggml.py", {"bench", "decode"}),
        ("benchmark/matmul.py", {"bench"}),
    ],
)
def test_edited_kernels_are_timed_again(tmp_path: Path, file: str, users: set[str]) -> None:
    package = copied_package(tmp_path)
    path = package / file
    path.write_text(
        path.read_text() + ("EDITED = 1\n" if path.suffix == ".py" else "int edited;\n")
    )
    names = {"model": "smollm2-135m", "method": "rtn", "rate": "3"}
    before, after = (
        {step: fingerprint(plan, step, **names) for step in ("bench", "decode", "quantize")}
        for plan in (JobGraph(), JobGraph(package=package))
    )
    assert {step for step in before if before[step] != after[step]} == users


def test_edited_words_change_nothing(before: dict[Job, str], tmp_path: Path) -> None:
    package = copied_package(tmp_path)
    for path in package.rglob("*.py"):
        text = path.read_text().replace('"""', '"""More words. ', 1)
        path.write_text(f"{text}\n# a comment\n")
    assert recipes(CONFIG, package) == before


def copied_package(folder: Path) -> Path:
    return shutil.copytree(PACKAGE, folder / "radio", ignore=shutil.ignore_patterns("__pycache__"))


def edit(path: Path, old: str, new: str) -> None:
    """Replace the first `old` in a file."""
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def changed(before: dict[Job, str], after: dict[Job, str]) -> set[str]:
    """Step, and method where there is one, of the jobs with another recipe."""
    assert before.keys() == after.keys()
    jobs = [each for each in after if after[each] != before[each]]
    return {" ".join([each.step, *dict(each.names).get("method", "").split()]) for each in jobs}


RECIPES = """
from radio.workflow import JobGraph
from radio.workflow.fingerprint import fingerprint
names = {"model": "smollm2-135m", "data": "wikipedia", "method": "radio", "rate": "3"}
steps = ("tokenize", "quantize", "evaluate", "ledger")
print([fingerprint(JobGraph(), step, **names) for step in steps])
"""


def test_recipes_are_the_same_under_every_locale() -> None:
    """Of files that are not ASCII, whatever the system's encoding is."""
    found = set()
    for settings in ({"PYTHONUTF8": "1"}, {"PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}):
        answer = subprocess.run(
            [sys.executable, "-c", RECIPES],
            env={**os.environ, "LC_ALL": "C", **settings},
            capture_output=True,
            text=True,
        )
        assert answer.returncode == 0, answer.stderr
        found.add(answer.stdout)
    assert len(found) == 1
