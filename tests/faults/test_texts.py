"""Text files as people have them: byte order marks, line ends, no blank lines, no text at all."""

from pathlib import Path

import pytest

from radio.cli import main
from radio.data import load_token_sequences
from radio.data.local import LocalText
from radio.runtime.errors import RadioError
from radio.runtime.files import write_json
from tests.faults.chain import text as words
from tests.tiny import tiny_llama

TEXT = "\n\n".join(f"Document {index} says naïvely:\n{'word ' * index}." for index in range(1, 30))
SHARES = {"validation": 0.15, "test": 0.15}


def documents(path: Path | str) -> dict[str, list[str]]:
    blocks = {"calibration": None, "validation": None, "test": None}
    text = LocalText(
        name="local", path=str(path), shares=SHARES, context_tokens=8, blocks=blocks, join="\n\n"
    )
    return text.documents()


@pytest.mark.parametrize(
    "content",
    [
        b"\xef\xbb\xbf" + TEXT.encode(),
        TEXT.replace("\n", "\r\n").encode(),
        b"\xef\xbb\xbf" + TEXT.replace("\n", "\r\n").encode(),
        TEXT.replace("\n", "\r").encode(),
        TEXT.replace("\n\n", "\n \t\n\n").encode() + b"\n\n",
    ],
    ids=["mark", "line ends of Windows", "both", "line ends of old", "blanks"],
)
def test_forms_of_one_text_are_one_text(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "plain.txt").write_text(TEXT)
    (tmp_path / "other.txt").write_bytes(content)
    assert documents(tmp_path / "other.txt") == documents(tmp_path / "plain.txt")


@pytest.mark.parametrize(
    "content, expected",
    [
        (b"", ["has 0 documents", "blank lines"]),
        (b"\n\n \n", ["has 0 documents", "blank lines"]),
        (TEXT.replace("\n\n", "\n").encode(), ["has 1 documents", "blank lines"]),
        (TEXT.encode() + b"\0", ["NUL bytes", "UTF-8"]),
        (TEXT.encode("utf-16"), ["cannot be read", "UTF-8"]),
        (TEXT.encode("latin-1"), ["cannot be read", "UTF-8"]),
        (TEXT.encode() + "\ud83d".encode("utf-8", "surrogatepass"), ["cannot be read", "UTF-8"]),
        (bytes(range(256)), ["cannot be read", "UTF-8"]),
    ],
    ids=["empty", "blank", "no blank lines", "NUL", "UTF-16", "Latin-1", "surrogate", "binary"],
)
def test_files_that_are_no_text(content: bytes, expected: list[str], tmp_path: Path) -> None:
    path = tmp_path / "mine.txt"
    path.write_bytes(content)
    with pytest.raises(RadioError) as caught:
        documents(path)
    assert all(word in str(caught.value) for word in [f"data.path={path}", *expected])


@pytest.mark.parametrize("path", ["", ".", "absent.txt", "~nobody-of-that-name/x.txt", "\0"])
def test_paths_that_are_no_file(path: str) -> None:
    with pytest.raises(RadioError, match=r"data\.path=.* cannot be read .* in UTF-8"):
        documents(path)


@pytest.mark.parametrize("path", ["~/mine.txt", "'~/mine.txt'", '"~/mine.txt"'])
def test_a_tilde_is_the_home_directory(
    path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In paths of texts and of checkpoints, quoted for Hydra or not."""
    monkeypatch.setenv("HOME", str(tmp_path))
    words(tmp_path).rename(tmp_path / "mine.txt")
    tiny_llama(tmp_path / "model")
    made = tmp_path / "made"
    model = path.replace("mine.txt", "model")
    given = ["model=local", f"model.path={model}"]
    assert main(["prepare", *given, f"out={made}/model.json"]) == 0
    chosen = ["data=local", f"data.path={path}", "data.context_tokens=32"]
    artifacts = [f"artifacts.model={made}/model.json", f"out={made}/tokens.safetensors"]
    assert main(["tokenize", *given, *chosen, *artifacts]) == 0
    assert len(load_token_sequences(made / "tokens.safetensors", "test").ids)


def test_a_text_without_blank_lines_by_the_command_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "mine.txt"
    path.write_text(TEXT.replace("\n\n", "\n"))
    tiny_llama(tmp_path / "model")
    write_json(tmp_path / "model.json", {"measured": {"path": str(tmp_path / "model")}})
    chosen = ["data=local", f"data.path={path}", f"artifacts.model={tmp_path}/model.json"]
    out = tmp_path / "made" / "tokens.safetensors"
    assert main(["tokenize", *chosen, "data.context_tokens=8", f"out={out}"]) == 2
    assert "separate its documents by blank lines" in capsys.readouterr().err
    assert not out.exists()
