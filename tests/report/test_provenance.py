"""Devices, versions, commits and digests of the jobs behind a value."""

from radio.report.provenance import config_digest, provenance_columns, provenance_sentence
from tests.report.conftest import write_evaluation


def test_provenance_names_each_device_and_version_once(evaluations, tmp_path):
    missing = tmp_path / "m" / "evaluation" / "rtn" / "2" / "wikipedia.json"
    assert provenance_sentence([*evaluations, missing]) == [
        "Measured on A processor, 2 threads with torch 2.13.0, transformers 5.23.0 "
        "at commit 0123abc."
    ]
    assert provenance_sentence([missing]) == []


def test_provenance_covers_all_manifests(tmp_path):
    cells = [("radio", "3", 3.1, 9.0, 0.1), ("rtn", "3", 3.0, 9.9, 0.3)]
    paths = [write_evaluation(tmp_path, "m", "t", cell) for cell in cells]
    columns = provenance_columns([*paths, tmp_path / "absent.json"])
    assert columns["peak_memory_bytes"] == 2_000_000_000
    assert (columns["device"], columns["commit"]) == ("A processor", "0123abc")
    assert "torch 2.13.0" in columns["versions"]
    assert columns["config_digest"] != provenance_columns(paths[:1])["config_digest"]
    assert set(provenance_columns([tmp_path / "absent.json"]).values()) == {None}


def test_the_digest_ignores_machine_settings():
    config = {"seed": 0, "threads": 2, "out": "a", "wandb": {"mode": "auto"}}
    assert config_digest([config]) == config_digest([config | {"threads": 8, "out": "b"}])
    assert config_digest([config]) != config_digest([config | {"seed": 1}])
