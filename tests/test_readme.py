"""The README tells what the suite made, and its links lead somewhere."""

import re
import subprocess
from pathlib import Path

import pandas as pd

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def kept(path: str) -> str:
    """A file as the last commit has it: `make table` has since written this machine's times."""
    command = ["git", "-C", str(ROOT), "show", f"HEAD:{path}"]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    return answer.stdout if answer.returncode == 0 else (ROOT / path).read_text()


def test_results_are_the_generated_table():
    block = kept("README.md").partition("<!-- results:begin -->")[2]
    block = block.partition("<!-- results:end -->")[0]
    assert block.strip() == kept("results/table_smollm2.md").strip()


def test_the_table_that_git_keeps_shows_what_the_readme_claims():
    table = pd.read_csv(ROOT / "results/table_smollm2.csv")
    kl = table.set_index(["method", "rate_bits"]).kl
    for rate in (4, 3):
        assert kl["radio", rate] <= 0.5 * kl["rtn-g128", rate]


def test_short_and_whole():
    assert len(README.splitlines()) < 130
    for target in re.findall(r"\]\((?!https?:)([^)]+)\)", README):
        assert (ROOT / target).exists(), target
