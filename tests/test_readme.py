"""The README tells what the suite made, and its links lead somewhere."""

import re
from pathlib import Path

import pandas as pd

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def test_results_are_the_generated_table():
    block = README.partition("<!-- results:begin -->")[2].partition("<!-- results:end -->")[0]
    assert block.strip() == (ROOT / "results/table_smollm2.md").read_text().strip()


def test_the_table_that_git_keeps_shows_what_the_readme_claims():
    table = pd.read_csv(ROOT / "results/table_smollm2.csv")
    kl = table.set_index(["method", "rate_bits"]).kl
    for rate in (4, 3):
        assert kl["radio", rate] <= 0.5 * kl["rtn-g128", rate]


def test_short_and_whole():
    assert len(README.splitlines()) < 150
    for target in re.findall(r"\]\((?!https?:)([^)]+)\)", README):
        assert (ROOT / target).exists(), target
