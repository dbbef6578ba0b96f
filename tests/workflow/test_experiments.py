import shutil
from pathlib import Path

import pytest

from radio.runtime.compose import CONFIG, compose_step, options, steps
from radio.runtime.errors import RadioError
from radio.workflow import ARTIFACTS, JobGraph, job
from radio.workflow.config import keys_of

PLAN = JobGraph()


@pytest.mark.parametrize("name", options("experiment"))
def test_every_experiment_is_the_product_of_its_parts(name: str) -> None:
    experiment = PLAN.experiment(name)
    evaluations = experiment.evaluations()
    measured = len(experiment.data) + len(experiment.tasks) + bool(experiment.stages)
    count = len(experiment.models) * measured * len(experiment.cells)
    assert len(set(evaluations)) == len(evaluations) == count > 0
    assert ("fp16", "16") in experiment.cells or experiment.stages


QUANTIZER = "quantizer: {_target_: radio.quantize.methods.rtn.Rtn}\n"


def test_paths() -> None:
    names = {"model": "opt-125m", "method": "radio", "rate": "2.5", "data": "c4"}
    assert job("evaluate", names).artifact == "results/opt-125m/evaluation/radio/2.5/c4.csv"
    assert job("evaluate", names).manifest == "results/opt-125m/evaluation/radio/2.5/c4.json"
    assert job("allocate", names).names == (
        ("method", "radio"),
        ("model", "opt-125m"),
        ("rate", "2.5"),
    )


def test_inputs_follow_what_a_method_needs() -> None:
    names = {"model": "llama2-7b", "rate": "3"}
    assert PLAN.inputs("quantize", method="rtn", **names) == {
        "model": "results/llama2-7b/model.json"
    }
    assert PLAN.inputs("quantize", method="radio", **names) == {
        "model": "results/llama2-7b/model.json",
        "statistics": "results/llama2-7b/statistics/random-sign.safetensors",
        "allocation": "results/llama2-7b/allocation/radio/3.safetensors",
    }


@pytest.mark.parametrize("model, data", [("smollm2-135m", "wikipedia"), ("llama2-70b", "c4")])
def test_a_model_is_calibrated_on_its_text(model: str, data: str) -> None:
    inputs = PLAN.inputs("calibrate", model=model, calibration="random-sign")
    assert inputs["tokens"] == f"results/{model}/tokens/{data}.safetensors"


def test_an_added_method_needs_no_edit_elsewhere(tmp_path: Path) -> None:
    plan = JobGraph(config=shutil.copytree(CONFIG, tmp_path / "config"))
    (plan.config / "method/mine.yaml").write_text(
        f"name: mine\nlabel: Mine\nneeds: [statistics]\ncalibration: random-sign\n{QUANTIZER}"
    )
    assert set(plan.inputs("quantize", model="opt-nano", method="mine", rate="3")) == {
        "model",
        "statistics",
    }


@pytest.mark.parametrize(
    "needs, sentence",
    [
        ("needs: [statistic]", "statistic is not accepted: set one of statistics"),
        ("needs: [statistics]", "no calibration"),
    ],
)
def test_a_method_that_cannot_be_made(tmp_path: Path, needs: str, sentence: str) -> None:
    plan = JobGraph(config=shutil.copytree(CONFIG, tmp_path / "config"))
    (plan.config / "method/mine.yaml").write_text(f"name: mine\n{needs}\n{QUANTIZER}")
    with pytest.raises(RadioError, match=sentence):
        plan.inputs("quantize", model="opt-nano", method="mine", rate="3")


def test_tasks_are_run_on_quantized_models() -> None:
    names = {"model": "smollm2-135m", "method": "rtn", "rate": "3"}
    model = {
        "model": "results/smollm2-135m/model.json",
        "quantized": "results/smollm2-135m/quantized/rtn/3.safetensors",
    }
    local = PLAN.inputs("downstream", tasks="local", **names)
    assert local == {**model, "task_items": "results/tasks/local.jsonl"}
    assert PLAN.inputs("downstream", tasks="paper", **names) == model  # lm-eval brings the items
    assert PLAN.inputs("items", tasks="local") == {}
    manifests = PLAN.inputs("table", experiment="table_downstream_smollm2")["evaluations"]
    assert manifests[0] == "results/smollm2-135m/downstream/fp16/16/local.json"


def test_stages_are_jobs_behind_the_quantized_model(tmp_path: Path) -> None:
    manifests = PLAN.inputs("table", experiment="table_scaling")["evaluations"]
    settings = "pilot_sequences=2,sequences=4,streaming=true"
    assert manifests[:4] == [
        "results/random-opt-125m/model.json",
        f"results/random-opt-125m/statistics/random-sign@{settings}.json",
        f"results/random-opt-125m/allocation/radio@{settings}/3.json",
        f"results/random-opt-125m/quantized/radio@{settings}/3.json",
    ]
    assert len(manifests) == 4 * 6
    few = JobGraph(overrides=("experiment.models=[random-opt-350m]",))
    assert len(few.inputs("table", experiment="table_scaling")["evaluations"]) == 4
    bad = plan_with(tmp_path, "stages: [calibrate]\ncells: [{method: rtn, rates: [3]}]\n")
    with pytest.raises(
        RadioError, match=r"stages of experiment mine has calibrate, and .* prepare"
    ):
        bad.inputs("table", experiment="mine")


def test_a_figure_is_drawn_from_what_it_names() -> None:
    assert PLAN.inputs("figure", figure="rate_distortion_smollm2") == {
        "table": ["results/table_smollm2.csv"]
    }
    assert "results/figures/rate_distortion_smollm2.png" in PLAN.targets("table_smollm2")
    with pytest.raises(RadioError, match="unknown figure 'rate_distorsion'"):
        PLAN.inputs("figure", figure="rate_distorsion")


def test_overrides_reach_the_steps_that_have_their_key() -> None:
    plan = JobGraph(overrides=("data.context_tokens=64", "model.group_rows=8", "seed=1"))
    assert plan.overrides_of("table") == ["seed=1"]
    assert plan.overrides_of("calibrate") == ["model.group_rows=8", "seed=1"]
    assert plan.overrides_of("tokenize") == list(plan.overrides)


def test_an_experiment_asks_for_every_figure_that_is_drawn_from_it() -> None:
    """Also for those whose YAML would not have its name."""
    figures = [job("figure", {"figure": name}) for name in options("figure")]
    for name in options("experiment"):
        table = job("table", {"experiment": name})
        drawn = {figure.artifact for figure in figures if table in PLAN.upstream(figure)}
        assert drawn == {path for path in PLAN.targets(name) if path.endswith(".png")}


@pytest.mark.parametrize("step", steps())
def test_the_keys_of_a_step_are_those_of_its_configuration(step: str) -> None:
    assert keys_of(step, CONFIG) == set(compose_step(step))


@pytest.mark.parametrize(
    "override, sentence",
    [("modle.path=/x", "did you mean model"), ("wandb.mode=disabled", "set WANDB_MODE")],
)
def test_overrides_that_cannot_be_meant(override: str, sentence: str) -> None:
    with pytest.raises(RadioError, match=sentence):
        JobGraph(overrides=(override,)).overrides_of("prepare")


def test_an_experiment_that_is_not_whole(tmp_path: Path) -> None:
    plan = JobGraph(config=shutil.copytree(CONFIG, tmp_path / "config"))
    (plan.config / "experiment/bad.yaml").write_text(
        "name: bad\ntitle: Bad\nmodels: []\ndata: [c4]\n"
    )
    with pytest.raises(RadioError, match=r"experiment\.cells is not given"):
        plan.experiment("bad")


def plan_with(folder: Path, experiment: str) -> JobGraph:
    """The plan of the project with one experiment more, `mine`, on one model and text."""
    plan = JobGraph(config=shutil.copytree(CONFIG, folder / "config"))
    head = "name: mine\ntitle: Mine\nmodels: [opt-nano]\ndata: [wikipedia]\n"
    (plan.config / "experiment/mine.yaml").write_text(head + experiment)
    return plan


def test_cells_without_rates_have_those_of_the_experiment(tmp_path: Path) -> None:
    plan = plan_with(
        tmp_path, "rates: [3, 2.50]\ncells:\n  - {method: rtn}\n  - {method: radio, rates: [4]}\n"
    )
    assert plan.experiment("mine").cells == (("rtn", "3"), ("rtn", "2.5"), ("radio", "4"))


def test_methods_are_matched_by_true_bits(tmp_path: Path) -> None:
    plan = plan_with(
        tmp_path,
        "match: bpw\nrates: [3.0, 2.5]\ncells:\n  - {method: fp16, rates: [16]}\n"
        "  - {method: rtn}\n  - {method: radio, rates: [kl=0.2]}\n",
    )
    cells = (("fp16", "16"), ("rtn", "bpw=3"), ("rtn", "bpw=2.5"), ("radio", "kl=0.2"))
    assert plan.experiment("mine").cells == cells
    overrides = plan.arguments("quantize", model="opt-nano", method="rtn", rate="bpw=2.5")
    assert "target.bpw=2.5" in overrides


@pytest.mark.parametrize(
    "experiment, sentence",
    [
        ("cells: [{method: rtn}]", r"not whole.*'rates'"),
        (
            "match: bits\nrates: [3]\ncells: [{method: rtn}]",
            "experiment.match=bits is not accepted",
        ),
    ],
)
def test_rates_that_are_missing_or_matched_by_nothing(
    tmp_path: Path, experiment: str, sentence: str
) -> None:
    with pytest.raises(RadioError, match=sentence):
        plan_with(tmp_path, experiment).experiment("mine")


def test_rules_and_code_spell_the_same_paths() -> None:
    rules = "".join(path.read_text() for path in (CONFIG.parent / "workflow/rules").glob("*.smk"))
    for path in ARTIFACTS.values():
        assert f'"{path}"' in rules


@pytest.mark.parametrize("name", options("experiment"))
def test_every_cell_gets_what_its_steps_ask_for(name: str) -> None:
    """A variant may change what a method needs: measured errors, learned levels, another text."""
    experiment = PLAN.experiment(name)
    for method, rate in experiment.cells:
        names = {"model": experiment.models[0], "method": method, "rate": rate}
        config = PLAN.compose("quantize", **names).method
        inputs = PLAN.inputs("quantize", **names)
        read_as = {"allocation": "allocation", "inputs": "tokens"}
        assert {read_as.get(need, need) for need in config.needs} | {"model"} == set(inputs)
        if "allocation" in config.needs:
            above = PLAN.inputs("allocate", **names)
            assert ("distortion" in above) == bool(config.use_measured_distortion)
            counted = "codebook" in config.needs and rate.startswith(("bpw=", "size="))
            assert ("codebook" in above) == counted


@pytest.mark.parametrize(
    "method", ["radio@iterations=8", "rtn@follow_author_code=true", "radio@name=x"]
)
def test_a_setting_that_would_do_nothing_is_refused(method: str) -> None:
    with pytest.raises(RadioError, match="which no step of"):
        PLAN.inputs("quantize", model="opt-nano", method=method, rate="3")


@pytest.mark.parametrize(
    "name, rounds, validate_every",
    [("table_opt", 64, 4), ("table_llama2", 64, 4), ("table4a_lowrate", 128, 8)],
)
def test_the_papers_tables_have_a_row_that_makes_the_authors_choices(
    name: str, rounds: int, validate_every: int
) -> None:
    """Rounds of 16 samples, as in opt_all.sh, llama_all.sh and llama_bit_depth.sh (seannz/cvxq)."""
    experiment = PLAN.experiment(name)
    (method,) = {method for method, _ in experiment.cells if "follow_author_code=true" in method}
    cell = {"model": experiment.models[0], "method": method, "rate": "3"}
    estimator = PLAN.compose("refine", **cell).refinement.estimator
    assert (estimator.follow_author_code, estimator.iterations) == (True, rounds)
    assert (estimator.batch, estimator.validate_every) == (16, validate_every)
    for quantizer in (
        estimator.draft,
        estimator.final,
        PLAN.compose("quantize", **cell).method.quantizer,
    ):
        assert (quantizer.center_on, quantizer.levels) == ("median", "companded")
