"""A job's artifacts are of the kinds that their keys take, and all of one model and text."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf

from radio.runtime import artifacts
from radio.runtime.artifacts import MADE_BY, content_digest
from radio.runtime.errors import RadioError
from radio.runtime.manifest import read_manifest, recorded
from radio.runtime.outputs import output_path
from radio.runtime.tensors import save_tensors
from radio.workflow.jobs import READ_AS
from tests.tiny import tiny_opt

Make = Callable[..., dict[str, str]]


def job(step: str, out: Path, model: dict[str, Any] | None, value: float, /, **given: Any) -> str:
    """Run a step that writes one number to `out`; returns its path."""
    content = {"out": str(out), "artifacts": given, "wandb": {"mode": "disabled"}}
    cfg = OmegaConf.create(content | ({"model": model} if model else {}))
    with recorded(step, cfg, output_path(cfg.out)) as (staged, _):
        if staged.suffix == ".safetensors":
            save_tensors(staged, {"x": torch.tensor(value)}, {})
        else:
            staged.write_text(f"{value}")
    return str(out)


def spec(name: str, path: str | None = None, source: str | None = "hub") -> dict[str, Any]:
    return {"name": name, "path": path, "source": source}


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Makes the artifacts of a model in a folder: all but weights, tokenizer and text agree."""

    def make(
        name: str, weights: str = "w", tokenizer: str = "t", statistics: float = 0.0, config="c"
    ) -> dict[str, str]:
        folder, model = tmp_path / f"{name}{weights}{tokenizer}{statistics}{config}", spec(name)
        cfg = OmegaConf.create({"out": f"{folder}/model.json", "model": model})
        with recorded("prepare", cfg, Path(cfg.out)) as (_, measured):
            measured |= {"path": f"/checkpoints/{name}", "sha256": weights}
            measured |= {"config_sha256": config, "tokenizer_sha256": tokenizer}
        made = {"model": cfg.out}

        def add(key: str, step: str, value: float, needs: str) -> None:
            given = {each: made[each] for each in needs.split()}
            made[key] = job(step, folder / f"{key}.safetensors", model, value, **given)

        add("tokens", "tokenize", 1.0, "model")
        add("reference", "reference", 2.0, "model tokens")
        add("statistics", "calibrate", statistics, "model tokens")
        add("codebook", "codebook", 3.0, "model statistics")
        add("distortion", "distortion", 4.0 + statistics, "model statistics codebook")
        add("allocation", "allocate", 5.0, "statistics distortion")
        add("quantized", "quantize", 6.0, "model statistics allocation codebook")
        return made

    return make


def refusal(step: str, tmp_path: Path, model: dict[str, Any] | None, given: dict[str, Any]) -> str:
    """What the step says of the artifacts that it is given, before its work."""
    with pytest.raises(RadioError) as refused:
        job(step, tmp_path / "out.csv", model, 0.0, **given)
    assert not (tmp_path / "out.csv").exists()
    return str(refused.value)


def test_a_chain_of_one_model_is_accepted(make, tmp_path):
    given = make("a")
    job("evaluate", tmp_path / "e.csv", spec("a"), 0.0, **given)
    made_from = read_manifest(tmp_path / "e.csv")["made_from"]
    assert made_from["model"] == {
        "name": "a",
        "weights_sha256": "w",
        "config_sha256": "c",
        "tokenizer_sha256": "t",
    }
    assert made_from["artifacts"]["statistics"] == {
        "path": given["statistics"],
        "identity": content_digest(Path(given["statistics"])),
    }


@pytest.mark.parametrize("key", sorted(set(MADE_BY) - {"model", "tokens", "task_items", "target"}))
@pytest.mark.parametrize("field", ["weights", "config"])
def test_an_artifact_of_other_weights_is_refused(key, field, make, tmp_path):
    """The same names and shapes; the tokenizer is the same too."""
    mine, other = make("a"), make("b", **{field: "other"})
    said = refusal("evaluate", tmp_path, spec("a"), {**mine, key: other[key]})
    assert f"artifacts.{key}={other[key]} was made from model b" in said
    assert "this job is of model a" in said and "run `radio " in said


def test_tokens_of_another_tokenizer_are_refused_but_not_of_other_weights(make, tmp_path):
    mine, other = make("a"), make("b", tokenizer="other")
    given = {"model": mine["model"], "tokens": other["tokens"]}
    assert "with tokenizer other" in refusal("reference", tmp_path, spec("a"), given)
    given["tokens"] = make("c", weights="other")["tokens"]
    job("reference", tmp_path / "out.csv", spec("a"), 0.0, **given)


@pytest.mark.parametrize("key", ["allocation", "distortion"])
def test_depths_and_errors_are_of_the_statistics_that_are_given(key, make, tmp_path):
    """Row clusters of another calibration of the same model would be applied to them."""
    one, other = make("a", statistics=1.0), make("a", statistics=2.0)
    given = {name: one[name] for name in ("model", "statistics")}
    said = refusal("quantize", tmp_path, spec("a"), {**given, key: other[key]})
    assert "was made from another statistics file" in said and other["statistics"] in said
    job("quantize", tmp_path / "out.csv", spec("a"), 0.0, **given, **{key: one[key]})


@pytest.mark.parametrize(
    "model, words",
    [
        (spec("b"), "model=b is not the model of artifacts.model"),
        (spec("a", path="/elsewhere"), "model.path=/elsewhere is not the checkpoint of"),
        (spec("a", source="wheel"), "model.source is wheel, but was hub"),
    ],
)
def test_the_model_that_is_chosen_must_be_the_one_that_is_read(model, words, make, tmp_path):
    assert words in refusal("calibrate", tmp_path, model, {"model": make("a")["model"]})


def test_the_same_checkpoint_by_another_path_is_accepted(tmp_path):
    checkpoint = tmp_path / "checkpoint"
    checkpoint.mkdir()
    (tmp_path / "link").symlink_to(checkpoint)
    cfg = OmegaConf.create({"out": "", "model": spec("a", path=str(checkpoint))})
    with recorded("prepare", cfg, tmp_path / "model.json") as (_, measured):
        measured["path"] = str(checkpoint)
    given = {"model": str(tmp_path / "model.json")}
    job("tokenize", tmp_path / "t.csv", spec("a", path=str(tmp_path / "link")), 0.0, **given)
    said = refusal("tokenize", tmp_path, spec("a"), given)
    assert f"is of a checkpoint at model.path={checkpoint}: add that" in said


def test_without_a_model_the_statistics_say_which(make, tmp_path):
    mine, other = make("a"), make("b", weights="other")
    given = {"statistics": mine["statistics"]}
    job("allocate", tmp_path / "x.csv", spec("a"), 0.0, **given)
    assert "model=b is not the model of" in refusal("allocate", tmp_path, spec("b"), given)
    given["distortion"] = other["distortion"]
    assert "was made from model" in refusal("allocate", tmp_path, spec("a"), given)


@pytest.mark.parametrize(
    "value, words",
    [
        (3, "artifacts.statistics=3 is not a path: give that of `radio calibrate` or `radio re"),
        ("", "is not a path"),
        (True, "is not a path"),
        (["a"], "must be the path"),
        ({"a": 1}, "is not a path"),
        ("folder", "is not a file"),
        ("/dev/null", "is not a file"),
        ("bare.safetensors", "has no manifest bare.json"),
        ("foreign.safetensors", "foreign.json is not a manifest of radio"),
        ("file/below", "does not exist"),
        ("n" * 5000, "cannot be read"),
        ("a\0b", "is not a path"),
        ("tokens", "is an artifact of radio tokenize: give that of `radio calibrate`"),
        ("model", "is an artifact of radio prepare"),
    ],
)
def test_what_is_no_artifact_of_the_kind_is_named(value, words, make, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("folder").mkdir()
    for name in ("bare.safetensors", "foreign.safetensors", "file"):
        Path(name).write_text("x")
    Path("foreign.json").write_text("{}")
    mine = make("a")
    given = {"statistics": mine.get(value, value) if isinstance(value, str) else value}
    if words == "does not exist":  # left to the step, which reads it
        job("allocate", tmp_path / "out.csv", spec("a"), 0.0, **given)
    else:
        assert words in refusal("allocate", tmp_path, spec("a"), given)


def test_a_list_is_a_list(make, tmp_path):
    mine = make("a")
    given = {"model": mine["model"], "quantized": mine["quantized"]}
    assert "must be a list of paths" in refusal("decode", tmp_path, spec("a"), given)
    job(
        "decode", tmp_path / "o.csv", spec("a"), 0.0, **{**given, "quantized": [given["quantized"]]}
    )


def test_a_file_that_its_manifest_does_not_describe_is_refused(make, tmp_path):
    """`cp` of another model's file over ours leaves our manifest."""
    mine, other = make("a"), make("b", weights="other", statistics=9.0)
    assert os.path.getsize(mine["statistics"]) == os.path.getsize(other["statistics"])
    shutil.copy(other["statistics"], mine["statistics"])
    said = refusal("allocate", tmp_path, spec("a"), {"statistics": mine["statistics"]})
    assert "statistics.json describes: run `radio calibrate` again" in said


def test_a_digest_reads_the_header_only_and_depends_on_every_value(tmp_path):
    path = tmp_path / "x.safetensors"
    digests = set()
    for value in (0.0, 1.0):
        save_tensors(path, {"x": torch.full((1000,), value)}, {})
        digests.add(content_digest(path))
    assert len(digests) == 2
    path.write_bytes(b"\xff" * 4)
    content_digest(path)


def test_an_older_manifest_is_named_in_the_log(make, tmp_path, caplog):
    mine = make("a")
    manifest = Path(mine["statistics"]).with_suffix(".json")
    content = json.loads(manifest.read_text())
    manifest.write_text(json.dumps({k: v for k, v in content.items() if k != "made_from"}))
    job("allocate", tmp_path / "o.csv", spec("a"), 0.0, statistics=mine["statistics"])
    assert "does not name its model: run its step again" in caplog.text


def test_every_kind_that_jobs_hand_on_is_known():
    assert {READ_AS[step] for step in READ_AS} - {"table"} == set(MADE_BY)
    for key, steps in MADE_BY.items():
        assert all(READ_AS[step] == key for step in steps)


def test_prepare_records_configuration_and_tokenizer(tmp_path):
    from radio.models.weight_files import TOKENIZER_FILES, files_sha256

    checkpoint = tiny_opt(tmp_path / "model")
    before = files_sha256(checkpoint, TOKENIZER_FILES)
    tokenizer = checkpoint / "tokenizer_config.json"
    tokenizer.write_text(tokenizer.read_text() + " ")
    assert files_sha256(checkpoint, TOKENIZER_FILES) != before
    assert set(artifacts.TOKENS_FIELDS) == {"tokenizer_sha256"}
