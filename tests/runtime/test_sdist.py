"""Files out of source archives: checked, streamed, kept alone; or one sentence and nothing left."""

import hashlib
import io
import tarfile
from pathlib import Path

import pytest

from radio.runtime import sdist
from radio.runtime.errors import RadioError
from radio.runtime.sdist import sdist_members

REQUIREMENT = "carrier==1.0"
BACKEND = """
from pathlib import Path

def prepare_metadata_for_build_wheel(folder, config_settings=None):
    info = Path(folder, "carrier-1.0.dist-info")
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\\nName: carrier\\nVersion: 1.0\\n")
    return info.name
"""
FILES = {
    "PKG-INFO": "Metadata-Version: 2.1\nName: carrier\nVersion: 1.0\n",
    "pyproject.toml": '[build-system]\nrequires = []\nbuild-backend = "backend"\n'
    'backend-path = ["."]\n',
    "backend.py": BACKEND,
    "carrier/tasks/one/task.json": '{"one": 1}',
    "carrier/tasks/two/task.json": '{"two": 2}',
    "carrier/tasks/three/task.json": '{"three": 3}',
}
WANTED = ["carrier/tasks/two/task.json", "carrier/tasks/one/task.json"]


@pytest.fixture
def archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A source archive in the only place where pip may look."""
    path = tmp_path / "shop" / "carrier-1.0.tar.gz"
    path.parent.mkdir()
    with tarfile.open(path, "w:gz") as stream:
        for name, content in FILES.items():
            entry = tarfile.TarInfo(f"carrier-1.0/{name}")
            entry.size = len(content)
            stream.addfile(entry, io.BytesIO(content.encode()))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(path.parent))
    return path


def hash_of(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def files_in(folder: Path) -> set[str]:
    return {path.name for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def copied(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No pip: the archive is copied."""

    def copy(requirement: str, sha256: str, folder: Path) -> Path:
        return archive.rename(folder / archive.name)

    monkeypatch.setattr(sdist, "download_sdist", copy)


def test_members_come_through_pip_and_are_cached(
    archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache, sha256 = tmp_path / "cache", hash_of(archive)
    found = sdist_members(REQUIREMENT, sha256, WANTED, cache)
    assert {name: path.read_text() for name, path in found.items()} == {
        name: FILES[name] for name in WANTED
    }
    assert sum(path.is_file() for path in cache.rglob("*")) == len(WANTED)
    monkeypatch.setattr(sdist, "download_sdist", None)
    assert sdist_members(REQUIREMENT, sha256, WANTED, cache) == found


def test_pip_refuses_another_hash(archive: Path, tmp_path: Path) -> None:
    with pytest.raises(RadioError, match=r"not download carrier==1\.0 .*MATCH THE HASHES"):
        sdist_members(REQUIREMENT, "0" * 64, WANTED, tmp_path / "cache")
    assert not files_in(tmp_path / "cache")


@pytest.mark.usefixtures("copied")
def test_bytes_of_another_hash(tmp_path: Path) -> None:
    with pytest.raises(RadioError, match=f"but {'0' * 64} is pinned"):
        sdist_members(REQUIREMENT, "0" * 64, WANTED, tmp_path / "cache")
    assert not files_in(tmp_path / "cache")


@pytest.mark.usefixtures("copied")
def test_a_file_that_is_not_there(archive: Path, tmp_path: Path) -> None:
    with pytest.raises(RadioError, match=r"lacks carrier/none\.json"):
        sdist_members(REQUIREMENT, hash_of(archive), ["carrier/none.json"], tmp_path / "cache")
    assert not files_in(tmp_path / "cache")


@pytest.mark.usefixtures("copied")
def test_a_truncated_archive(archive: Path, tmp_path: Path) -> None:
    archive.write_bytes(archive.read_bytes()[:-200])
    with pytest.raises(RadioError, match="is not a whole archive"):
        sdist_members(REQUIREMENT, hash_of(archive), ["carrier/none.json"], tmp_path / "cache")
    assert not files_in(tmp_path / "cache")
