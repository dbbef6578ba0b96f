"""A manifest says how its artifact was made, and stands beside no other."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf

from radio.runtime import manifest
from radio.runtime.errors import RadioError
from radio.runtime.manifest import commit, read_manifest, recorded
from radio.runtime.usage import traffic


@pytest.fixture
def cfg(tmp_path):
    return OmegaConf.create(
        {
            "out": str(tmp_path / "radio" / "2.5.safetensors"),
            "seed": 7,
            "threads": None,
            "model": {"name": "opt-nano", "seed": "${seed}"},
            "wandb": {"mode": "disabled"},
        }
    )


def made(cfg, **measurements):
    """Run a step that writes ten bytes and measures what is given; returns its manifest."""
    out = Path(cfg.out)
    with recorded("quantize", cfg, out) as (staged, measured):
        staged.write_bytes(bytes(10))
        measured |= measurements
    return json.loads((out.parent / "2.5.json").read_text())


@pytest.mark.parametrize("state", [None, "2.5.{}.partial", "2.5.{}.parts", "3.{}.partial"])
def test_a_job_that_goes_on_says_so(cfg, state):
    folder = Path(cfg.out).parent
    folder.mkdir()
    if state:
        (folder / state.format("safetensors")).mkdir()
    assert made(cfg)["resumed"] == (state in ("2.5.{}.partial", "2.5.{}.parts"))


def test_content(cfg):
    content = made(cfg, bpw=3.1, method="radio", codes=[1, 2])
    assert content["step"] == "quantize"
    assert content["artifact"] == cfg.out
    assert content["config"]["model"] == {"name": "opt-nano", "seed": 7}
    assert content["seed"] == 7
    assert content["size_bytes"] == 10
    assert content["versions"]["torch"] == torch.__version__
    assert content["device"]["threads"] == torch.get_num_threads()
    assert re.search(r"\w", content["device"]["name"])
    assert 0 <= content["wall_s"] < 10
    # this process holds torch: hundreds of megabytes, no terabytes (a unit taken for another)
    assert 5e7 < content["peak_memory_bytes"] < 1e12
    if sys.platform == "linux":
        assert min(content["read_bytes"], content["written_bytes"]) >= 0
    assert content["measured"] == {"bpw": 3.1, "method": "radio", "codes": [1, 2]}


def test_traffic_is_that_of_the_block(cfg, monkeypatch, tmp_path):
    """Counters go on from what the process had read and written before."""
    counters = tmp_path / "io"
    counters.write_text("rchar: 9\nread_bytes: 100\nwrite_bytes: 7\ncancelled_write_bytes: 1\n")
    monkeypatch.setattr(manifest, "traffic", lambda: traffic(counters))
    with recorded("quantize", cfg, tmp_path / "a.csv") as (staged, _):
        staged.write_text("x")
        counters.write_text(counters.read_text().replace("100", "140").replace(": 7", ": 19"))
    content = read_manifest(tmp_path / "a.csv")
    assert (content["read_bytes"], content["written_bytes"]) == (40, 12)
    assert traffic(tmp_path / "none") == {}


def test_wall_time_is_that_of_the_block(cfg, monkeypatch):
    clock = iter([10.0, 12.5])
    monkeypatch.setattr(manifest.time, "perf_counter", lambda: next(clock))
    assert made(cfg)["wall_s"] == 2.5


def test_no_path_but_the_configured(cfg):
    text = json.dumps(made(cfg)).replace(cfg.out, "")
    assert str(Path.cwd()) not in text
    assert str(Path.home()) not in text


def test_scalars_of_numpy_and_torch(cfg):
    content = made(cfg, kl=np.float32(0.5), count=torch.tensor(3), nested={"a": (np.int64(2),)})
    assert content["measured"] == {"kl": 0.5, "count": 3, "nested": {"a": [2]}}


def test_what_is_not_finite_is_null_and_named(cfg, caplog):
    content = made(cfg, perplexity=float("inf"), blocks=[1.0, float("nan")])
    assert content["measured"] == {"perplexity": None, "blocks": [1.0, None]}
    assert content["not_finite"] == ["perplexity=inf", "blocks[1]=nan"]
    assert "perplexity=inf" in caplog.text


def test_what_json_cannot_hold_is_a_bug(cfg):
    with pytest.raises(TypeError, match="measured weight is a set"):
        made(cfg, weight={1, 2})


def test_a_failing_step_leaves_the_earlier_output_and_its_manifest(cfg):
    made(cfg)
    folder = Path(cfg.out).parent
    before = {file.name: file.read_bytes() for file in folder.iterdir()}
    with pytest.raises(RadioError, match="stop"), recorded("quantize", cfg, Path(cfg.out)):
        raise RadioError("stop")
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == before


def test_a_step_that_writes_nothing_is_a_bug(cfg):
    with (
        pytest.raises(FileNotFoundError, match="without writing"),
        recorded("quantize", cfg, Path(cfg.out)),
    ):
        pass
    assert not Path(cfg.out).with_suffix(".json").exists()


def test_the_manifest_may_be_the_artifact(cfg, tmp_path):
    out = tmp_path / "model.json"
    with recorded("prepare", cfg, out) as (_, measured):
        measured["path"] = "somewhere"
    with pytest.raises(RadioError), recorded("prepare", cfg, out):
        raise RadioError("no network")
    assert read_manifest(out)["measured"] == {"path": "somewhere"}


def test_an_output_that_cannot_be_written_is_told_before_the_work(cfg):
    cfg.out = "/proc/x.safetensors"
    with pytest.raises(RadioError, match="cannot be written"), recorded("x", cfg, Path(cfg.out)):
        pytest.fail("the work has begun")


def test_a_missing_value_is_named(cfg):
    cfg.model.name = "???"
    with pytest.raises(RadioError, match=r"model\.name is not given: add model\.name=VALUE"):
        made(cfg)


def test_an_unknown_mode_of_wandb_is_told_before_the_work(cfg):
    cfg.wandb.mode = "ofline"
    with (
        pytest.raises(RadioError, match=r"wandb\.mode=ofline"),
        recorded("quantize", cfg, Path(cfg.out)),
    ):
        pytest.fail("the work began")


@pytest.mark.parametrize("content", ["[]", "{}", '{"measured": 3}'])
def test_json_of_another_kind_is_refused(tmp_path, content):
    (tmp_path / "a.json").write_text(content)
    with pytest.raises(RadioError, match=r"is not a manifest of radio|holds no JSON object"):
        read_manifest(tmp_path / "a.json")


def test_commit_says_when_the_tree_is_dirty(tmp_path, monkeypatch):
    source = tmp_path / "manifest.py"
    shutil.copy(manifest.__file__, source)
    monkeypatch.setattr(manifest, "__file__", str(source))
    assert commit() == "unknown"
    # author and configuration of whoever runs the test play no part
    identity = {
        f"GIT_{who}_{what}": "x" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")
    }
    for command in (["init", "-q"], ["add", "."], ["commit", "-qm", "x", "--no-verify"]):
        subprocess.run(["git", *command], cwd=tmp_path, check=True, env=os.environ | identity)
    assert re.fullmatch("[0-9a-f]{12}", commit())
    source.write_text("changed")
    assert re.fullmatch("[0-9a-f]{12}-dirty", commit())


def test_without_git_the_commit_is_unknown(monkeypatch):
    monkeypatch.setenv("PATH", "")
    assert commit() == "unknown"
