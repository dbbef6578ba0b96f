"""`radio table` and `radio figure`, from composed configs to files."""

import json

from radio.report.table import load_table
from radio.runtime.compose import compose_step
from radio.steps import figure, table


def test_evaluations_become_a_table_and_a_figure(evaluations, tmp_path):
    evaluations[2].unlink()
    readme, csv = tmp_path / "README.md", tmp_path / "results" / "table_smollm2.csv"
    readme.write_text("<!-- results:begin -->\n<!-- results:end -->\n")
    paths = ",".join(str(path) for path in evaluations)
    common = ["experiment=table_smollm2", "wandb.mode=disabled"]
    table.run(
        compose_step(
            "table",
            [*common, f"out={csv}", f"readme={readme}", f"artifacts.evaluations=[{paths}]"],
        )
    )
    assert len(load_table(csv)) == len(evaluations)
    rendered = csv.with_suffix(".md").read_text()
    assert rendered.startswith("### SmolLM2-135M on Wikipedia")
    assert "4-bit lattice" in rendered
    assert "RTN, per row" in rendered
    assert rendered.strip() in readme.read_text()
    assert json.loads(csv.with_suffix(".json").read_text())["measured"] == {
        "rows": 5,
        "rows_missing": 1,
    }

    png = tmp_path / "results" / "figures" / "rate_distortion_smollm2.png"
    figure.run(compose_step("figure", [*common[1:], f"out={png}", f"artifacts.table=['{csv}']"]))
    assert png.exists()
    assert png.with_suffix(".pdf").exists()
    assert json.loads(png.with_suffix(".json").read_text())["measured"] == {"panels": 2}
