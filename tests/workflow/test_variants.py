"""Names of variants: read, written, and taken by the steps that have the setting."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf

from radio.runtime.compose import compose_step
from radio.runtime.errors import RadioError
from radio.workflow import JobGraph
from radio.workflow.variants import full_key, join, split

PLAN = JobGraph()
WORD = st.from_regex(r"[a-z_]{1,8}", fullmatch=True)


@given(base=WORD, settings=st.dictionaries(WORD, st.from_regex(r"[a-z0-9.]{1,6}", fullmatch=True)))
def test_round_trip(base, settings):
    assert split(join(base, settings)) == (base, settings)
    assert join(base, dict(reversed(settings.items()))) == join(base, settings)


@pytest.mark.parametrize("name", ["radio@fit", "radio@=1", "radio@scale_fit="])
def test_refuses_half_a_setting(name):
    with pytest.raises(RadioError, match=f"variant {name} cannot be read"):
        split(name)


def test_a_setting_is_the_end_of_a_key():
    config = compose_step("calibrate")
    assert full_key(config, "sequences") == "calibration.estimator.sequences"
    assert full_key(config, "seed") == "seed"
    assert full_key(config, "quences") is None
    assert full_key(config, "mode") is None  # wandb's is no variant
    with pytest.raises(RadioError, match="setting solver may mean"):
        full_key(OmegaConf.create({"method": {"solver": 1, "quantizer": {"solver": 2}}}), "solver")


def test_each_step_takes_what_it_has():
    names = {
        "model": "opt-nano",
        "method": "radio@scale_fit=moments,seed=1,sequences=16",
        "rate": "3",
    }
    assert PLAN.inputs("quantize", **names)["statistics"] == (
        "results/opt-nano/statistics/random-sign@seed=1,sequences=16.safetensors"
    )
    quantize = PLAN.arguments("quantize", **names)
    assert "method.quantizer.scale_fit=moments" in quantize and "method=radio" in quantize
    assert "seed=1" in quantize and not any("sequences" in word for word in quantize)
    calibrate = PLAN.arguments(
        "calibrate", model="opt-nano", calibration="random-sign@seed=1,sequences=16"
    )
    assert {"calibration=random-sign", "calibration.estimator.sequences=16", "seed=1"} < set(
        calibrate
    )


def test_a_variant_does_not_change_how_it_is_measured():
    """`dtype` is that of the loop, and not of its evaluation; `batch` likewise."""
    method = "radio-paper@batch=4,dtype=bfloat16"
    names = {"model": "opt-nano", "method": method, "rate": "3"}
    found = set(PLAN.arguments("refine", **names))
    assert {"refinement.estimator.batch=4", "refinement.estimator.dtype=bfloat16"} < found
    for step, text in (("evaluate", {"data": "wikipedia"}), ("downstream", {"tasks": "local"})):
        cfg, plain = (
            PLAN.compose(step, **(names | text | {"method": name}))
            for name in (method, "radio-paper")
        )
        assert cfg == plain


def test_refuses_a_setting_that_no_step_has():
    with pytest.raises(RadioError, match="sets sequenses, which no step of radio has"):
        PLAN.inputs("quantize", model="opt-nano", method="radio@sequenses=16", rate="3")
