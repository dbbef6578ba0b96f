"""Which models are missing from a table, and what of it is there."""

import sys
from pathlib import Path

import pytest

from radio.runtime.errors import RadioError
from radio.runtime.unavailable import failure_recorded, why_unavailable
from radio.workflow import JobGraph
from radio.workflow.partial import existing, missing_models, partial_command
from radio.workflow.smoke import check_smoke, smoke_experiments

PLAN = JobGraph()


def fail(folder: Path, sentence: str) -> None:
    with pytest.raises(RadioError, match=sentence), failure_recorded(folder):
        raise RadioError(sentence)


def test_a_failure_is_kept_until_a_success(tmp_path: Path) -> None:
    folder = tmp_path / "m"
    assert why_unavailable(folder) is None
    fail(folder, "gated")
    fail(folder, "no disk")
    assert why_unavailable(folder) == "no disk"
    with failure_recorded(folder):
        pass
    assert why_unavailable(folder) is None
    assert list(folder.iterdir()) == []


def test_a_failure_that_is_no_ones_input_is_not_kept(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), failure_recorded(tmp_path):
        raise ZeroDivisionError
    assert why_unavailable(tmp_path) is None


def test_missing_models_are_those_of_the_experiment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert missing_models(PLAN, "table_llama2") == {}
    fail(Path("results/llama2-7b"), "gated")
    fail(Path("results/opt-125m"), "no network")
    assert missing_models(PLAN, "table_llama2") == {"llama2-7b": "gated"}


def test_what_is_there(tmp_path: Path) -> None:
    here = tmp_path / "a.json"
    here.touch()
    inputs: dict[str, str | list[str]] = {"evaluations": [str(here), str(tmp_path / "b.json")]}
    assert existing(inputs) == {"evaluations": [str(here)]}


def test_the_command_hands_on_the_configuration() -> None:
    config = {"overrides": ["seed=1", "data.blocks={test:4}"], "smoke": False}
    command = partial_command(Path("/x/Snakefile"), ["table_opt"], config)
    assert command[:3] == [sys.executable, "-m", "snakemake"]
    assert command[-2:] == ["--", "results/table_opt.csv"]
    assert 'overrides=["seed=1", "data.blocks={test:4}"]' in command
    assert "partial=true" in command and "smoke=false" in command


def test_smoke_is_kept_apart() -> None:
    names = smoke_experiments(PLAN)
    assert names == ["smoke_table_llama2", "smoke_table_opt"]
    for name in names:
        check_smoke(True, name)
        real, smoke = PLAN.experiment(name.removeprefix("smoke_")), PLAN.experiment(name)
        # every method, at one rate
        assert {method for method, _ in smoke.cells} == {method for method, _ in real.cells}
        assert all(model.startswith("smoke-") for model in smoke.models)
        assert smoke.data == ("smoke",)
    check_smoke(False, "table_opt")
    with pytest.raises(RadioError, match=r"ask for results/smoke_table_opt\.csv"):
        check_smoke(True, "table_opt")
    with pytest.raises(RadioError, match="add --config smoke=true"):
        check_smoke(False, "smoke_table_opt")
