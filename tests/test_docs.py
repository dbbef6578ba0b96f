"""Every command that the documents tell is known: which test runs it, or what it would need."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import radio.theory
from radio.cli import main
from radio.workflow import ARTIFACTS, JobGraph, job

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
PROGRAMS = ("snakemake", "radio", "make", "wandb", "export", "hf")
OF_ONE_MODEL = "snakemake results/smollm2-135m/evaluation/radio"

BASELINE = "tests/test_notebooks.py::test_the_files_of_the_page_make_a_row"
PLANNED = "tests/test_docs.py::test_paths_that_the_pages_name_can_be_made"

# a test that runs the command, maybe on a tiny model and text
RUN_BY = {
    "make setup": "tests/test_environment.py",
    "snakemake --list": "tests/workflow/test_graph.py::test_the_list_has_a_sentence_for_each_rule",
    "snakemake --lint": "tests/test_docs.py::test_make_has_the_targets_that_the_pages_name",
    "snakemake -n results/table_llama2.csv": (
        "tests/workflow/test_graph.py::test_tables_of_the_paper"
    ),
    "snakemake results/ledger.html": (
        "tests/workflow/test_paper_targets.py::test_the_step_writes_the_ledger"
    ),
    "make report": (
        "tests/workflow/test_rerun.py::test_the_report_is_one_file_with_the_ledger_in_front"
    ),
    "snakemake --workflow-profile workflow/profiles/slurm results/table_opt.csv": (
        "tests/workflow/test_slurm.py::test_jobs_run_and_a_killed_one_asks_for_more"
    ),
    "export RADIO_MEMORY_GB=200": "tests/calibrate/test_streaming.py",
    "radio --help": "tests/test_docs.py::test_help_that_the_pages_name",
    "radio quantize --help": "tests/test_docs.py::test_help_that_the_pages_name",
    f"{OF_ONE_MODEL}/size=100MB/wikipedia.csv": PLANNED,
    f"{OF_ONE_MODEL}/bpw=3/wikipedia.csv": PLANNED,
    f"{OF_ONE_MODEL}/kl=0.2/wikipedia.csv": PLANNED,
    f"{OF_ONE_MODEL}/perplexity_increase=10%/wikipedia.csv": (PLANNED),
    "radio compress model=smollm2-135m method=radio bpw=3 out=OUT": (
        "tests/commands/test_commands.py"
    ),
    "radio plan": "tests/resources/test_estimates.py",
    "radio plan model=smollm2-135m method=radio bpw=3": "tests/resources/test_estimates.py",
    "radio plan model=llama2-70b method=radio target.bpw=3": "tests/resources/test_estimates.py",
    "radio plan check=results/table_scaling.csv": "tests/resources/test_estimates.py",
    "snakemake results/smollm2-135m/downstream/radio/3/local.csv": (
        "tests/evaluate/downstream/test_run.py"
    ),
    "radio export": "tests/commands/test_commands.py",
    "radio export OUT out=DENSE": "tests/commands/test_commands.py",
    "snakemake results/smoke.csv --config 'overrides=[model.path=/models/mine, "
    "model.calibration_data=local, data.path=/texts/mine.txt]'": (
        "tests/workflow/test_end_to_end.py::test_killed_resumed_and_done_once"
    ),
    "snakemake --resources gpu=2 -- results/table_opt.csv": (
        "tests/workflow/test_smoke.py::test_every_step_of_the_papers_tables_runs_on_miniatures"
    ),
    "snakemake results/table_llama2.csv --config 'overrides=[dtype=bfloat16]'": (
        "tests/test_on_gpus.py::test_steps_take_the_device_that_is_set"
    ),
    "snakemake --config smoke=true": (
        "tests/workflow/test_smoke.py::test_every_step_of_the_papers_tables_runs_on_miniatures"
    ),
    "export PYTHONPATH=mine RADIO_CONFIG_DIRS=mine/config": BASELINE,
    "snakemake results/mine.csv": BASELINE,
}
# what a test cannot have; where it is a GPU, the page says so
NEEDS = {
    "make table": "an hour; tests/workflow/test_graph.py has its jobs",
    "make test": "it is what runs the tests",
    "snakemake paper": "a GPU",
    "snakemake -n paper": "most of a minute; see tests/workflow/test_paper_targets.py",
    "snakemake --until tokenize items --cores 4 -- results/table_opt.csv": "the hub",
    "snakemake --touch results/NAME.csv": "a name",
    "wandb sync logs/wandb/offline-run-*": "an account",
    "hf auth login": "an account",
    "hf download NAME --local-dir OUT": "the hub",
    "snakemake results/llama2-7b/model.json": "weights from the hub",
    "pytest tests/kernels tests/test_on_gpus.py": "a GPU",
}


def commands(page: str) -> Iterator[tuple[str, str]]:
    """Commands in a page's shell blocks and in its sentences, each with the line it is on."""
    for block in re.findall(r"^```bash\n(.*?)^```", page, re.MULTILINE | re.DOTALL):
        for line in block.replace("\\\n", " ").splitlines():
            command = " ".join(re.split(r"\s+#", line)[0].split())
            if command and not command.startswith(". "):
                yield command, line
    prose = re.sub(r"^```.*?^```", "", page, flags=re.MULTILINE | re.DOTALL)
    for line in re.findall(r"`[^`]+`", prose):
        command = " ".join(line.strip("`").split())
        words = command.split()
        if words[0] in PROGRAMS and len(words) > 1 and "STEP" not in words:
            yield command, line


def found() -> dict[str, str]:
    return {command: line for page in PAGES for command, line in commands(page.read_text())}


def test_commands_are_found_in_blocks_and_sentences():
    page = "Say `radio  --help`, `radio`.\n\n```bash\n. env\nsnakemake \\\n  x   # why\n```\n"
    assert [command for command, _ in commands(page)] == ["snakemake x", "radio --help"]


def test_every_command_is_run_by_a_test_or_says_what_it_needs():
    told = found()
    steps = {f"radio {path.stem}" for path in (ROOT / "radio/steps").glob("*.py")}
    unknown = set(told) - set(RUN_BY) - set(NEEDS) - steps
    assert not unknown, "name the test that runs it, or what it needs"
    for command, need in NEEDS.items():
        assert need != "a GPU" or "GPU" in told[command], command


def test_paths_that_the_pages_name_can_be_made():
    """All jobs behind an evaluation are planned and configured, as Snakemake would ask for them."""
    form = ARTIFACTS["evaluate"].replace("{", "(?P<").replace("}", ">[^/]+)")
    asked = [re.search(form, command) for command in found()]
    names = [match.groupdict() for match in asked if match]
    assert len(names) == 4
    plan = JobGraph()
    for each in names:
        waiting, planned = [job("evaluate", each)], set()
        while waiting:
            of = waiting.pop()
            if of not in planned:
                planned.add(of)
                assert plan.compose(of.step, **dict(of.names))
                waiting += plan.upstream(of)
        assert ("target" in {of.step for of in planned}) == each["rate"].startswith(
            ("kl", "perplexity")
        )


def test_the_tests_that_run_them_exist():
    for test in RUN_BY.values():
        path, _, name = test.partition("::")
        assert not name or f"\ndef {name}(" in (ROOT / path).read_text(), test


def test_make_has_the_targets_that_the_pages_name():
    makefile = (ROOT / "Makefile").read_text()
    for command in found():
        if command.startswith("make "):
            assert f"\n{command.split()[1]}:" in makefile
    assert "\tsnakemake --lint\n" in makefile  # which `make test` runs


@pytest.mark.parametrize("arguments", [["--help"], ["quantize", "--help"]])
def test_help_that_the_pages_name(arguments, capsys):
    assert main(arguments) == 0
    assert "usage: radio" in capsys.readouterr().out


def test_the_symbols_of_the_method_are_those_of_the_package():
    page = (ROOT / "docs/method.md").read_text()
    below = page.partition("|---|---|---|\n")[2].partition("\n\n")[0]
    rows = [" ".join(row.replace("|", " ").split()) for row in below.splitlines()]
    table = (radio.theory.__doc__ or "").split("\n\n")[2]
    assert rows == [" ".join(line.split()) for line in table.splitlines()]
