"""Checkpoints from the hub, against a server that answers as the hub does."""

import errno
import shutil
import threading
from collections.abc import Iterator
from http.server import ThreadingHTTPServer
from pathlib import Path

import huggingface_hub
import pytest
from httpx2 import ConnectError
from huggingface_hub import constants

from radio.models import load_model, load_tokenizer
from radio.models.hub import snapshot
from radio.runtime.errors import RadioError
from tests.models.fake_hub import REVISION, FakeHub


@pytest.fixture
def hub(llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[type[FakeHub]]:
    """The server with the tiny Llama, a README and a pickle that nobody should ask for."""
    files = tmp_path / "remote"
    shutil.copytree(llama, files)
    for name in ("README.md", "pytorch_model.bin", "flax_model.msgpack"):
        (files / name).write_bytes(b"not needed")
    monkeypatch.setattr(FakeHub, "files", files, raising=False)
    monkeypatch.setattr(FakeHub, "sent", [])
    monkeypatch.setattr(FakeHub, "error", None)
    server = ThreadingHTTPServer(("127.0.0.1", 0), FakeHub)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}"
    template = address + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "ENDPOINT", address)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    yield FakeHub
    server.shutdown()
    server.server_close()


def test_only_needed_files_come_and_only_once(hub: type[FakeHub]) -> None:
    path = snapshot("tiny/model", REVISION)
    wanted = {"config.json", "generation_config.json", "model.safetensors"}
    wanted |= {"tokenizer.json", "tokenizer_config.json"}
    assert {file.name for file in path.iterdir()} == wanted
    assert load_model(path).config.model_type == "llama"
    assert load_tokenizer(path).encode("dog")
    fetched = list(hub.sent)
    hub.error = (403, "GatedRepo")
    assert snapshot("tiny/model", REVISION) == path
    assert hub.sent == fetched


def test_pickles_come_where_there_are_no_safetensors(hub: type[FakeHub]) -> None:
    (hub.files / "model.safetensors").unlink()
    names = {file.name for file in snapshot("tiny/model", REVISION).iterdir()}
    assert "pytorch_model.bin" in names
    assert not names & {"README.md", "flax_model.msgpack"}


def test_interrupted_download_is_completed(hub: type[FakeHub]) -> None:
    path = snapshot("tiny/model", REVISION)
    (path / "model.safetensors").unlink()
    assert (snapshot("tiny/model", REVISION) / "model.safetensors").is_file()


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (
            (403, "GatedRepo"),
            "tiny/model is gated: accept its licence at https://huggingface.co/tiny/model, then "
            "run `hf auth login` or set HF_TOKEN, or give a local checkpoint with model.path=DIR",
        ),
        ((401, "GatedRepo"), "tiny/model is gated"),
        ((404, "RepoNotFound"), "the hub knows no model tiny/model, or it is private: check"),
        ((404, "RevisionNotFound"), f"tiny/model has no revision {REVISION}: check"),
        ((418, "Teapot"), "could not be fetched"),
    ],
)
def test_refusal_is_one_sentence(
    hub: type[FakeHub], error: tuple[int, str], sentence: str, tmp_path: Path
) -> None:
    hub.error = error
    with pytest.raises(RadioError) as caught:
        snapshot("tiny/model", REVISION)
    assert sentence in str(caught.value)
    assert "model.path=DIR" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not list((tmp_path / "cache").rglob("model.safetensors"))


def test_unknown_repository(hub: type[FakeHub]) -> None:
    with pytest.raises(RadioError, match="the hub knows no model tiny/typo"):
        snapshot("tiny/typo", REVISION)


def test_impossible_repository_id() -> None:
    with pytest.raises(RadioError, match=r"model\.source\.repo_id='a//b' is not a repository id"):
        snapshot("a//b", REVISION)


def test_offline_takes_what_is_cached(hub: type[FakeHub], monkeypatch: pytest.MonkeyPatch) -> None:
    path = snapshot("tiny/model", REVISION)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert snapshot("tiny/model", REVISION) == path


def test_offline(hub: type[FakeHub], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(RadioError, match="connect to the network and unset HF_HUB_OFFLINE"):
        snapshot("tiny/model", REVISION)


@pytest.mark.parametrize(
    ("failure", "sentence"),
    [
        (ConnectError("Name or service not known"), "could not be fetched (Name or service"),
        (TimeoutError("timed out"), "could not be fetched (timed out)"),
        (OSError(errno.ENOSPC, "No space left on device"), "set HF_HOME to a larger one"),
    ],
)
def test_failure_on_the_way(
    hub: type[FakeHub], failure: Exception, sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: object, **options: object) -> object:
        raise failure

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fail)
    with pytest.raises(RadioError) as caught:
        snapshot("tiny/model", REVISION)
    assert sentence in str(caught.value)
