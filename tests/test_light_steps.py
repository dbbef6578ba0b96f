"""Steps that touch no model start without the library of models, which takes seconds to import."""

import subprocess
import sys

LIGHT = ("allocate", "table", "figure", "ledger")


def test_light_steps_import_no_models() -> None:
    code = f"import sys, {', '.join(f'radio.steps.{step}' for step in LIGHT)}\n"
    code += "sys.exit(sys.modules.get('transformers') is not None)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
