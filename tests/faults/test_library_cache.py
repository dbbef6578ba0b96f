"""A cached library is loaded only whole, and only from where no other user can write."""

import os
import stat
import subprocess
import sys
import sysconfig
import textwrap
import warnings
from pathlib import Path

import pytest

from radio.kernels import cpu, library

SOURCE = """
#include <Python.h>
static PyObject* answer(PyObject*, PyObject*) { return PyLong_FromLong(42); }
static PyMethodDef methods[] = {{"answer", answer, METH_NOARGS, ""}, {}};
static PyModuleDef module = {PyModuleDef_HEAD_INIT, "small", "", -1, methods};
PyMODINIT_FUNC PyInit_small() { return PyModule_Create(&module); }
"""


@pytest.fixture(scope="module")
def library_bytes(tmp_path_factory):
    """A small extension, compiled once."""
    folder = tmp_path_factory.mktemp("source")
    (folder / "small.cpp").write_text(SOURCE)
    include = f"-I{sysconfig.get_path('include')}"
    command = [os.environ.get("CXX", "c++"), "-shared", "-fPIC", include]
    subprocess.run([*command, folder / "small.cpp", "-o", folder / "small.so"], check=True)
    return (folder / "small.so").read_bytes()


@pytest.fixture
def cache(tmp_path, monkeypatch, library_bytes):
    """A trusted folder of its own, and the names of what was built."""
    builds = []

    def build(name, sources, extra_cflags, build_directory):
        builds.append(name)
        (Path(build_directory) / f"{name}.so").write_bytes(library_bytes)

    monkeypatch.setattr("torch.utils.cpp_extension.load", build)
    folder = tmp_path / "cache"
    folder.mkdir(mode=0o700)
    return folder, builds


def load(folder: Path):
    return library.load(folder / "small.so", [], [])


def run(code: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", textwrap.dedent(code)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_a_build_is_kept_with_its_digest(cache):
    folder, builds = cache
    assert load(folder).answer() == 42
    assert load(folder).answer() == 42
    assert builds == ["small"]
    assert sorted(os.listdir(folder)) == ["small.lock", "small.so", "small.so.sha256"]


@pytest.mark.parametrize(
    "damage",
    [
        lambda so, digest: so.write_bytes(b""),
        lambda so, digest: so.write_bytes(so.read_bytes()[:4096]),
        lambda so, digest: so.write_bytes(so.read_bytes()[:-1] + b"\x55"),
        lambda so, digest: digest.unlink(),
        lambda so, digest: digest.write_bytes(b""),
        lambda so, digest: digest.write_bytes(b"\xff" * 64),
        lambda so, digest: so.unlink(),
    ],
    ids=["empty", "cut off", "one byte", "no digest", "empty digest", "no text", "no library"],
)
def test_a_damaged_library_is_built_again(cache, damage):
    """In a process of its own: a truncated library that is loaded ends it by SIGBUS."""
    folder, builds = cache
    path = folder / "small.so"
    library._build(path, [], [])
    damage(path, library._digest_of(path))
    library._build(path, [], [])
    process = run(f"""
        from pathlib import Path
        from radio.kernels import library
        print(library.load(Path({str(path)!r}), [], []).answer())
    """)
    assert process.communicate()[0] == "42\n"
    assert builds == ["small"] * 2


def test_processes_that_build_at_once_build_once(cache, tmp_path, library_bytes):
    folder, _ = cache
    (tmp_path / "compiled").write_bytes(library_bytes)
    code = f"""
        import sys, time
        from pathlib import Path
        from types import SimpleNamespace
        from radio.kernels import library
        def build(name, sources, extra_cflags, build_directory):
            print("built", flush=True)
            time.sleep(0.5)
            content = Path({str(tmp_path / "compiled")!r}).read_bytes()
            (Path(build_directory) / "small.so").write_bytes(content)
        # torch would take a second
        utils = SimpleNamespace(cpp_extension=SimpleNamespace(load=build))
        sys.modules |= {{"torch": SimpleNamespace(utils=utils), "torch.utils": utils}}
        print(library.load(Path({str(folder / "small.so")!r}), [], []).answer())
    """
    several = [run(code) for _ in range(3)]
    words = " ".join(process.communicate()[0] for process in several).split()
    assert sorted(words) == ["42", "42", "42", "built"]


def test_a_folder_that_others_can_write_is_not_trusted(cache):
    folder, builds = cache
    load(folder)
    folder.chmod(0o777)
    with pytest.raises(library.UntrustedFolderError, match=rf"{folder} belongs to another .*chmod"):
        load(folder)
    folder.chmod(0o1777)  # sticky: nobody else replaces what is there
    assert load(folder).answer() == 42
    (folder / "small.so").chmod(0o666)
    with pytest.raises(library.UntrustedFolderError, match=r"small\.so belongs to another user"):
        load(folder)
    assert builds == ["small"]


def test_a_folder_above_counts_and_a_link_is_followed(cache, tmp_path):
    _, builds = cache
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    inside = tmp_path / "open/inside"
    inside.mkdir(mode=0o700)
    link = tmp_path / "link"
    link.symlink_to(inside)
    for place in (inside, link, inside / "new"):
        with pytest.raises(library.UntrustedFolderError, match="open belongs to another user"):
            load(place)
    assert builds == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to another user")
def test_a_file_of_another_user_is_not_trusted(cache):
    folder, _ = cache
    load(folder)
    os.chown(folder / "small.so", 65533, 65533)
    with pytest.raises(library.UntrustedFolderError, match=r"small\.so belongs to another user"):
        load(folder)


def test_the_users_own_group_may_write(monkeypatch, tmp_path):
    tmp_path.chmod(0o770)
    monkeypatch.setattr(library, "_own_group", lambda gid: True)
    library.require_trust(tmp_path)
    monkeypatch.setattr(library, "_own_group", lambda gid: False)
    with pytest.raises(library.UntrustedFolderError):
        library.require_trust(tmp_path)


def test_without_trust_is_one_warning_and_the_slow_path(monkeypatch, tmp_path):
    tmp_path.chmod(0o777)
    monkeypatch.setenv("TORCH_EXTENSIONS_DIR", str(tmp_path))
    cpu.compiled.cache_clear()
    try:
        with pytest.warns(UserWarning, match=r"is not loaded.*TORCH_EXTENSIONS_DIR.*slow"):
            assert cpu.kernel() is None
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert cpu.kernel() is None
    finally:
        cpu.compiled.cache_clear()
    assert os.listdir(tmp_path) == [] and stat.S_IMODE(tmp_path.stat().st_mode) == 0o777
