"""What jobs ask of a cluster: enough to be held, no more than a node has, more after a failure."""

import re
import shutil
from pathlib import Path

import pytest

from radio.models.spec import ModelSpec
from radio.resources.cluster import MEMORY_MARGIN, asked
from radio.resources.memory_estimate import CalibrationFootprint, quantization_bytes
from radio.resources.planned_shape import geometry_of
from radio.runtime.compose import CONFIG
from radio.runtime.errors import RadioError
from radio.runtime.memory import OWN_SHARE
from radio.workflow import JobGraph, job

PLAN = JobGraph()
NODE = {"device": "a100", "memory_gb": 240}
NAMES = {"method": "radio", "rate": "3", "data": "c4", "calibration": "random-sign"}
RULES = "".join(path.read_text() for path in (CONFIG.parent / "workflow/rules").glob("*.smk"))


def of(step: str, model: str, plan: JobGraph = PLAN, attempt: int = 1, **names: str):  # type: ignore[no-untyped-def]
    return asked(plan, job(step, {**NAMES, "model": model, **names}), **NODE, attempt=attempt)


def geometry(model: str):  # type: ignore[no-untyped-def]
    return geometry_of(ModelSpec.from_config(PLAN.compose("prepare", model=model).model))


@pytest.mark.parametrize("step", re.findall(r'asks\("(\w+)"\)', RULES))
def test_every_rule_that_asks_gets_an_answer_that_grows(step: str) -> None:
    names = {"method": "radio-paper"} if step == "refine" else {"tasks": "local"}
    small, large = (of(step, model, **names) for model in ("opt-125m", "opt-1.3b"))
    assert all(a <= b for a, b in zip(small, large, strict=True)) and small != large
    again = of(step, "opt-125m", attempt=3, **names)
    assert again.mem_mb == pytest.approx(1.5**2 * small.mem_mb, rel=1e-3)
    assert again.runtime == pytest.approx(1.5**2 * small.runtime, rel=0.05)


@pytest.mark.parametrize("model", ["opt-125m", "llama2-7b", "llama2-13b"])
def test_what_is_granted_holds_the_model(model: str) -> None:
    """A job streams where it may take less than what it would in memory."""
    sizes = geometry(model)
    in_memory = CalibrationFootprint(sizes, 2048, 512, 2).in_memory_bytes()
    assert 1e6 * of("calibrate", model).mem_mb * OWN_SHARE > in_memory
    assert 1e6 * of("quantize", model).mem_mb * OWN_SHARE > quantization_bytes(sizes)


def test_what_outgrows_a_node_streams_within_it() -> None:
    assert MEMORY_MARGIN * quantization_bytes(geometry("llama2-70b")) > 240e9
    for step in ("calibrate", "quantize", "reference", "evaluate"):
        assert of(step, "llama2-70b").mem_mb == of(step, "llama2-70b", attempt=3).mem_mb == 240_000
    whole = of("downstream", "llama2-70b", tasks="local").mem_mb
    assert whole > 240_000  # which holds the model


@pytest.mark.parametrize("step, group", [("calibrate", "calibration"), ("quantize", "method")])
def test_what_is_told_to_stream_asks_for_less(step: str, group: str) -> None:
    whole = of(step, "opt-6.7b").mem_mb
    streaming = of(step, "opt-6.7b", **{group: f"{NAMES[group]}@streaming=true"}).mem_mb
    assert streaming < 0.8 * whole  # inputs of all its blocks are in memory


def test_an_evaluation_that_streams_asks_for_less(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = of("evaluate", "opt-30b").mem_mb
    monkeypatch.setenv("RADIO_STREAMING", "true")
    other = JobGraph(overrides=("seed=1",))  # configurations are composed once in a process
    assert of("evaluate", "opt-30b", plan=other).mem_mb < 0.5 * whole


def test_only_sequences_of_one_phase_are_in_memory_together() -> None:
    def memory_mb(sequences: int, pilot: int) -> int:
        settings = f"pilot_sequences={pilot},sequences={sequences},streaming=true"
        return of("calibrate", "opt-6.7b", calibration=f"random-sign@{settings}").mem_mb

    kept = CalibrationFootprint(geometry("opt-6.7b"), 2048, 512, 2).kept_bytes(on_disk=False)
    assert memory_mb(4, 2) == memory_mb(3, 2) == memory_mb(3, 1)
    assert memory_mb(4, 3) - memory_mb(4, 2) == pytest.approx(MEMORY_MARGIN * kept / 1e6, abs=1)


def test_a_model_of_unknown_size_gets_a_node(tmp_path: Path) -> None:
    plan = JobGraph(config=shutil.copytree(CONFIG, tmp_path / "config"))
    text = (CONFIG / "model/opt-125m.yaml").read_text()
    head, _, tail = text.partition("architecture:")
    rest = tail[tail.index("\ngroup_rows") :]
    (plan.config / "model/mine.yaml").write_text(head.replace("opt-125m", "mine", 1) + rest)
    assert of("calibrate", "mine", plan) == (240_000, 24 * 60, 0)


def test_an_unknown_device_is_named() -> None:
    with pytest.raises(RadioError, match="unknown device 'a10': did you mean a100"):
        asked(PLAN, job("prepare", {"model": "opt-125m"}), device="a10", memory_gb=1)
