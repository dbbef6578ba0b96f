"""The table of downstream tasks: paired changes, averages, the paper's values, empty cells."""

import json
import math
from pathlib import Path

import pandas as pd
import pytest

from radio.report.downstream import build_downstream_table, load_downstream_table, task_metrics
from radio.report.experiment import paper_tables
from radio.report.labels import task_set
from radio.runtime.compose import CONFIG, compose_step
from radio.runtime.errors import RadioError
from radio.runtime.unavailable import failure_recorded
from radio.steps import table as step
from radio.workflow import JobGraph

LOCAL = {"local": task_metrics(task_set("local"))}
PAPER = {"paper": task_metrics(task_set("paper"))}
VALUES = {
    ("next_sentence", "acc"): [1.0, 1.0, 0.0, 1.0],
    ("next_sentence", "acc_norm"): [1.0, 1.0, 1.0, 1.0],
    ("last_word", "acc"): [0.0, 1.0, 0.0, 0.0],
    ("last_word", "perplexity"): [-1.0, -2.0, -3.0, -4.0],
}


def write(root, model, method, rate, tasks, values, items="abc"):
    """Write one evaluation like `radio downstream`; return the path of its manifest."""
    path = Path(root, model, "downstream", method, rate, f"{tasks}.json")
    path.parent.mkdir(parents=True)
    settings = {"items_sha256": items, "items": 4, "shots": 0, "bos": "none", "version": "1.0"}
    measured = {
        "model": model,
        "method": method.split("@")[0],
        "mean_depth": float(rate),
        "bpw": float(rate) + 0.1,
        "size_bytes": 1000,
        "lm_eval": "0.4.13",
        "tasks": {task: {**settings, "wall_s": 1.5} for task, _ in values},
    }
    origin = {"commit": "0123abc", "versions": {}, "device": {"name": "A processor", "threads": 2}}
    path.write_text(json.dumps({**origin, "measured": measured}))
    rows = [
        {"task": task, "metric": metric, "item": item, "value": value}
        for (task, metric), numbers in values.items()
        for item, value in enumerate(numbers)
    ]
    pd.DataFrame(rows).to_csv(path.with_suffix(".csv"), index=False)
    return path


def changed(**values):
    return VALUES | {tuple(key.split("__")): numbers for key, numbers in values.items()}


def row_of(table, **where):
    for name, value in where.items():
        table = table[table[name] == value]
    (row,) = table.to_dict("records")
    return row


def test_scores_and_paired_changes(tmp_path):
    worse = changed(next_sentence__acc=[1.0, 0.0, 0.0, 1.0], last_word__perplexity=[-2.0] * 4)
    paths = [
        write(tmp_path, "m", "fp16", "16", "local", VALUES),
        write(tmp_path, "m", "rtn", "3", "local", worse),
    ]
    table = build_downstream_table(paths, LOCAL, "fp16")
    assert list(table.task) == ["next_sentence"] * 4 + ["last_word"] * 4
    assert list(table.method) == ["fp16", "rtn"] * 4
    row = row_of(table, method="rtn", metric="acc", task="next_sentence")
    assert (row["score"], row["change"], row["change_se"]) == (0.5, -0.25, 0.25)
    assert (row["items"], row["bos"], row["version"]) == (4, "none", "1.0")
    row = row_of(table, method="rtn", metric="perplexity")
    assert row["score"] == pytest.approx(math.exp(2))
    assert row["change"] == pytest.approx(math.exp(2) - math.exp(2.5))
    assert table.change[table.method == "fp16"].isna().all()
    assert not {"score_paper", "verdict"} & set(table.columns)


def test_other_items_are_not_paired(tmp_path):
    paths = [
        write(tmp_path, "m", "fp16", "16", "local", VALUES),
        write(tmp_path, "m", "rtn", "3", "local", VALUES, items="abd"),
    ]
    table = build_downstream_table(paths, LOCAL, "fp16")
    assert table.score.notna().all() and table.change.isna().all()


QA = ("arc_challenge", "arc_easy", "hellaswag", "piqa", "winogrande")


def test_the_average_and_the_papers_values(tmp_path):
    experiment = compose_step("table", ["experiment=table_downstream_llama2"]).experiment
    paper = paper_tables(experiment, {}, CONFIG / "paper")
    scores = dict(zip(QA, (430, 760, 570, 780, 690), strict=True))
    values = {(task, "acc"): [1.0] * n + [0.0] * (1000 - n) for task, n in scores.items()}
    values[("gsm8k", "exact_match")] = [1.0] * 17 + [0.0] * 83
    paths = [
        write(tmp_path, "llama2-7b", "fp16", "16", "paper", values),
        write(tmp_path, "llama2-7b", "awq-g128@group_cols=256", "3", "paper", values),
        tmp_path / "llama2-7b/downstream/radio/3/paper.json",
    ]
    table = build_downstream_table(paths, PAPER, "fp16", paper)
    row = row_of(table, task="average_qa", method="fp16")
    assert row["score"] == pytest.approx(0.646) and row["score_paper"] == pytest.approx(0.6483)
    numbers = [math.sqrt(n / 1000 * (1 - n / 1000) / 999) for n in scores.values()]
    assert row["score_se"] == pytest.approx(math.hypot(*numbers) / 5)
    assert row["verdict"] == "reproduced"
    row = row_of(table, task="gsm8k", method="fp16")
    assert row["score_difference"] == pytest.approx(0.17 - 0.141)
    assert row["verdict"] == "not reproduced"
    row = row_of(table, task="piqa", method="awq-g128@group_cols=256")
    assert row["score_paper"] == pytest.approx(0.7584) and row["change"] == 0
    row = row_of(table, task="piqa", method="radio")
    assert row["score_paper"] == pytest.approx(0.7720) and row["verdict"] == "not run"
    assert "fast mode" in row["note"] and "does not exist" in row["note"]


def test_every_value_of_the_papers_tables_has_its_row():
    experiment = compose_step("table", ["experiment=table_downstream_llama2"]).experiment
    paper = paper_tables(experiment, {}, CONFIG / "paper")
    assert set(paper) == {*QA, "average_qa", "gsm8k"}
    cells = JobGraph().experiment("table_downstream_llama2").cells
    for task, table in paper.items():
        for model in experiment.models:
            for method, rate in cells:
                value = table.value(model, method, float(rate), "")
                assert 0 < value < 1, (task, model, method)
                assert table.tolerance(model, method, float(rate)).around(value) <= 0.02
    assert paper["gsm8k"].value("llama2-70b", "radio-paper", 3.0, "") == pytest.approx(0.4981)


def test_cells_that_are_missing_or_damaged(tmp_path):
    folder = tmp_path / "m"
    with pytest.raises(RadioError), failure_recorded(folder):
        raise RadioError("the licence is not accepted")
    damaged = write(tmp_path, "m", "rtn", "3", "local", VALUES)
    damaged.with_suffix(".csv").unlink()
    moved = write(tmp_path, "m", "awq", "3", "local", VALUES)
    moved.write_text(moved.read_text().replace('"awq"', '"gptq"'))
    paths = [folder / "downstream/fp16/16/local.json", damaged, moved]
    table = build_downstream_table(paths, LOCAL, "fp16")
    assert table.score.isna().all() and len(table) == 3 * 4
    notes = [
        row_of(table, method=name, metric="acc_norm")["note"] for name in ("fp16", "rtn", "awq")
    ]
    assert notes[0] == "not run: the weights of m are not available (the licence is not accepted)"
    assert notes[1].startswith("not read: ") and notes[2].startswith("not read: ")


def test_the_step_writes_the_table_and_its_rendering(tmp_path):
    name = "smollm2-135m"
    worse = changed(next_sentence__acc=[0.0, 0.0, 0.0, 1.0])
    paths = [
        write(tmp_path, name, "fp16", "16", "local", VALUES),
        write(tmp_path, name, "radio", "3", "local", worse),
        tmp_path / name / "downstream/awq-g128/3/local.json",
    ]
    out = tmp_path / "table_downstream_smollm2.csv"
    manifests = ",".join(f"'{path}'" for path in paths)
    step.run(
        compose_step(
            "table",
            [
                *("experiment=table_downstream_smollm2", "wandb.mode=disabled"),
                *(f"out={out}", f"artifacts.evaluations=[{manifests}]"),
            ],
        )
    )
    table = load_downstream_table(out)
    assert len(table) == 12 and table.score.notna().sum() == 8
    measured = json.loads(out.with_suffix(".json").read_text())["measured"]
    assert measured == {"rows": 12, "rows_missing": 4}
    rendered = out.with_suffix(".md").read_text()
    assert "#### Next sentence of four: accuracy, %" in rendered
    assert "| SmolLM2-135M | Radio | 3.000 | 3.100 | 25 ± 25 | −50 ± 29 |" in rendered
    assert "Last word: 4 items, 0 shots, version 1.0, BOS none, lm-eval 0.4.13." in rendered
    assert "4-bit lattice" in rendered and "awq-g128/3/local.json does not exist" in rendered
