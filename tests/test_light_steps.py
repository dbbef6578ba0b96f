"""What touches no model starts without libraries of models, which take seconds to import."""

import re
import subprocess
import sys

from tests.workflow.snake import ROOT

LIGHT = ("allocate", "table", "figure", "ledger")


def imported(modules: list[str], library: str) -> bool:
    """Whether a process that imports `modules` has imported `library` too."""
    code = f"import sys, {', '.join(modules)}; print({library!r} in sys.modules)"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    return answer.stdout == b"True\n"


def test_light_steps_import_no_models() -> None:
    assert not imported([f"radio.steps.{step}" for step in LIGHT], "transformers")


def test_the_workflow_imports_no_tensors() -> None:
    modules = re.findall(r"^from (radio\S*) import", (ROOT / "Snakefile").read_text(), re.MULTILINE)
    assert not imported(modules, "torch")
    assert imported([*modules, "radio.steps.allocate"], "torch")
