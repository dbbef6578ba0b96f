"""Output paths of a step or command: a free path, or its own earlier output.

Everything else is refused before any work, so that no user file is ever overwritten.
"""

import os
import re
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from radio.runtime.errors import RadioError
from radio.runtime.files import check_writable, read_json

# steps whose artifact is the manifest itself
MANIFEST_ONLY = ("prepare", "target")
# suffixes of the states next to an artifact, from which a killed job resumes
STATES = (".partial", ".parts", ".inputs")
# maximum bytes of a file name; leaves room for the names of scratch folders and states
LONGEST_NAME = 200


def output_path(out: Any) -> Path:
    """Return the file path `out` with `~` expanded, after checking that it can name a file.

    Raises:
        RadioError: it is not text, is empty, names a folder, is too long, or is not valid UTF-8.
    """
    if not isinstance(out, str) or not out:
        raise RadioError(f"out={out!r} is not a path: give the path of a file")
    try:
        size = len(os.path.basename(out).encode())
    except UnicodeEncodeError as error:
        raise RadioError(f"out={out!a} is not valid UTF-8: give another path") from error
    if not out.isprintable():
        raise RadioError(f"out={out!a} has characters that cannot be printed: give another path")
    path = Path(out).expanduser()
    if path.name in ("", "..") or out.endswith(("/", "/.")):
        raise RadioError(f"out={out} names a directory: give the path of a file")
    if size > LONGEST_NAME:
        raise RadioError(
            f"out={out} has a file name of {size} bytes: give one of at most {LONGEST_NAME}"
        )
    return path


def check_output(
    step: str, out: Path, companions: Sequence[str] = (), inputs: Iterable[Path] = ()
) -> None:
    """Refuse `out` unless it is free or an earlier output of `step` with its manifest.

    Args:
        step: name of the step that writes `out`, its manifest and its companions.
        out: path of a file.
        companions: suffixes of the other files that the step writes next to it, such as ".md".
        inputs: files and directories that the step reads.

    Raises:
        RadioError: something else exists at the path, `out` is in a directory that the step reads,
            its suffix is that of another file of the step, or it is not writable.
    """
    _check_suffix(step, out, companions)
    written = {out, manifest_path(out), *(out.with_suffix(suffix) for suffix in companions)}
    try:
        _check_inputs(out, written, inputs)
        ours = _is_earlier_output(step, out)
        for path in sorted(written):
            _check_replaceable(step, out, path, ours)
        check_writable(out)
    except OSError as error:
        raise RadioError(
            f"out={out} cannot be written ({error.strerror}): give another path"
        ) from error


def check_directory(
    step: str, out: str | Path, manifest_name: str, inputs: Iterable[Path] = ()
) -> Path:
    """Return the path of a directory that `step` may write: absent, empty, or its earlier output.

    An earlier output has a manifest of `step` that names all other files in it.

    Raises:
        RadioError: something else exists at the path, the directory is in or around one that the
            step reads, or it is not writable.
    """
    path = output_path(re.sub("(?<=[^/])/+$", "", str(out)))  # "OUT/" also names a directory
    try:
        if os.path.lexists(path) and (path.is_symlink() or not path.is_dir()):
            raise RadioError(f"out={path} is {_kind(path)}: name a directory")
        for source in inputs:
            if _is_inside(path, source) or _is_inside(source, path):
                raise RadioError(
                    f"out={path} would replace the input {source}: name another directory"
                )
        if foreign := _foreign(step, path, manifest_name):
            raise RadioError(
                f"out={path} holds {foreign}, which is not of a model that radio {step} wrote: "
                "name another directory, or empty this one"
            )
        check_writable(path)
    except OSError as error:
        raise RadioError(
            f"out={path} cannot be written ({error.strerror}): give another path"
        ) from error
    return path


def manifest_path(out: Path) -> Path:
    """Return the path of the manifest of the artifact `out`.

    >>> manifest_path(Path("results/opt-125m/evaluation/radio/2.5/c4.csv")).name
    'c4.json'
    """
    return out.with_suffix(".json")


def paths_in(config: Mapping[str, Any]) -> Iterator[Path]:
    """Yield the files and directories that a step's resolved configuration names as inputs."""
    given = [config.get("artifacts")]
    given += [(config.get(key) or {}).get("path") for key in ("model", "data")]
    while given:
        value = given.pop()
        if isinstance(value, str) and value:
            yield Path(value).expanduser()
        elif isinstance(value, Mapping):
            given += value.values()
        elif isinstance(value, list):
            given += value


def _check_suffix(step: str, out: Path, companions: Sequence[str]) -> None:
    if step in MANIFEST_ONLY:
        if out.suffix != ".json":
            raise RadioError(f"out={out} does not end in .json: step {step} writes a JSON file")
        return
    names = {".json": "its manifest", **dict.fromkeys(STATES, "the state of a killed run")}
    names |= dict.fromkeys(companions, "the step's second file")
    if out.suffix in names:
        raise RadioError(f"out={out} has the suffix of {names[out.suffix]}: give another suffix")


def _check_inputs(out: Path, written: Iterable[Path], inputs: Iterable[Path]) -> None:
    real = {os.path.realpath(path): path for path in written}
    for source in inputs:
        try:
            replaced, is_folder = real.get(os.path.realpath(source)), source.is_dir()
        except (OSError, ValueError):
            continue  # not a file name: the step reports it on opening
        if replaced:
            raise RadioError(f"out={out} would replace {replaced}, an input: give another path")
        if is_folder and _is_inside(out, source):
            raise RadioError(f"out={out} is in the input directory {source}: give another path")


def _check_replaceable(step: str, out: Path, path: Path, ours: bool) -> None:
    """Refuse a path of a step's output unless the step may replace it."""
    if not os.path.lexists(path):
        return
    given = f"out={out}" if path == out else f"out={out} would replace {path}, which"
    if not stat.S_ISREG(path.lstat().st_mode):
        raise RadioError(f"{given} is {_kind(path)}: give the path of a file")
    if not ours:
        raise RadioError(
            f"{given} holds something that step {step} did not write: give another path, or "
            "remove it"
        )


def _is_earlier_output(step: str, out: Path) -> bool:
    """Return whether the manifest of `out` says that `step` wrote it."""
    manifest = manifest_path(out)
    if not manifest.is_file():
        return False
    try:
        content = read_json(manifest)
    except RadioError:
        return False
    named = Path(str(content.get("artifact"))).name == out.name
    return named and content.get("step") == step and isinstance(content.get("measured"), dict)


def _foreign(step: str, folder: Path, manifest_name: str) -> str | None:
    """Return the name of a file in `folder` that `step` did not write; None if there is none."""
    known = _written_files(step, folder / manifest_name)
    files = (path for path in folder.rglob("*") if path.is_symlink() or not path.is_dir())
    there = {path.relative_to(folder).as_posix() for path in files}
    return min(there - known, default=None)


def _written_files(step: str, manifest: Path) -> set[str]:
    """Return the files in a directory that `step` wrote, from its manifest; empty without one."""
    try:
        content = read_json(manifest)
    except RadioError:
        return set()
    files = content.get("files")
    return {manifest.name, *files} if content.get("step") == step and files else set()


def _is_inside(path: Path, folder: Path) -> bool:
    """Return whether `path` is `folder` or below it, with links resolved."""
    return Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder))


def _kind(path: Path) -> str:
    """Return the kind of file at `path`, without following a link."""
    mode = path.lstat().st_mode
    kinds = {
        stat.S_ISLNK: "a symbolic link",
        stat.S_ISDIR: "a directory",
        stat.S_ISREG: "a file",
        stat.S_ISFIFO: "a named pipe",
        stat.S_ISSOCK: "a socket",
    }
    return next((name for test, name in kinds.items() if test(mode)), "a device")
