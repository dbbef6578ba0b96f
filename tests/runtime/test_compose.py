from itertools import cycle
from pathlib import Path

import pytest

from radio.runtime.compose import compose_step, options, steps
from radio.runtime.errors import RadioError
from radio.workflow import ARTIFACTS, JobGraph


def test_every_step_of_the_workflow_composes() -> None:
    assert set(steps()) == set(ARTIFACTS)
    for step in steps():
        assert {"out", "seed", "threads", "wandb"} <= set(compose_step(step))


MODELS, METHODS = options("model"), options("method")


@pytest.mark.parametrize("model, method", list(zip(MODELS, cycle(METHODS))))
def test_every_model_composes_with_a_method(model: str, method: str) -> None:
    """Not each with each: none of the two says anything of the other's keys."""
    assert len(METHODS) <= len(MODELS)
    cfg = compose_step("quantize", [f"model={model}", f"method={method}"])
    assert (cfg.model.name, cfg.method.name) == (model, method)


@pytest.mark.parametrize(
    "step, overrides, sentence",
    [
        ("quantise", [], "unknown step 'quantise': did you mean quantize?"),
        ("common", [], "unknown step 'common'"),
        ("prepare", ["model=opt-125"], "unknown model 'opt-125': did you mean opt-125m"),
        (
            "quantize",
            ["method=xyz"],
            "unknown method 'xyz': there are ",
        ),
        ("tokenize", ["data=wikitext"], "unknown text 'wikitext': did you mean wikitext2"),
        ("table", ["experiment=table_opt2"], "unknown experiment 'table_opt2'"),
        ("quantize", ["methd=rtn"], "step quantize has no key 'methd': did you mean method"),
        ("quantize", ["method=rtn", "method.quantizer.group_col=3"], "method.quantizer.group_cols"),
        (
            "quantize",
            ["zzz=1"],
            "it has artifacts, device, memory_gb, method, model, out",
        ),
        ("quantize", ["rate_bits"], "override 'rate_bits' cannot be read"),
        ("quantize", ["rate_bits=[3"], "write KEY=VALUE"),
        ("quantize", ["rate_bits=3,4"], "step quantize rate_bits=3,4 cannot be composed"),
    ],
)
def test_bad_input_is_one_sentence(step: str, overrides: list[str], sentence: str) -> None:
    with pytest.raises(RadioError) as error:
        compose_step(step, overrides)
    assert sentence in str(error.value)
    assert "\n" not in str(error.value)


def test_folders_of_your_own_add_options(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "method").mkdir()
    (tmp_path / "method/mine.yaml").write_text(
        "name: mine\nneeds: []\nquantizer: {_target_: radio.quantize.methods.fp16.Fp16}\n"
    )
    monkeypatch.setenv("RADIO_CONFIG_DIRS", str(tmp_path))
    assert "mine" in options("method")
    assert compose_step("quantize", ["method=mine"]).method.name == "mine"
    monkeypatch.setenv("RADIO_CONFIG_DIRS", str(tmp_path / "absent"))
    with pytest.raises(RadioError, match=r"RADIO_CONFIG_DIRS names .*absent"):
        compose_step("quantize")


def test_a_yaml_file_that_is_not_yaml(tmp_path: Path) -> None:
    (tmp_path / "prepare.yaml").write_text("out: [\n")
    sentence = r"YAML syntax error in .*prepare.yaml.*line 2"
    with pytest.raises(RadioError, match=sentence):
        compose_step("prepare", config=tmp_path)
    with pytest.raises(RadioError, match=sentence):
        JobGraph(config=tmp_path).arguments("prepare", model="opt-125m")
