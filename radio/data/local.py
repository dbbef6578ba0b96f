"""The user's own text: one UTF-8 file with documents separated by blank lines."""

import re
from dataclasses import dataclass
from pathlib import Path

from radio.data.joined import JoinedText
from radio.runtime.errors import RadioError
from radio.runtime.kinds import File, Shares
from radio.runtime.wheel import REPOSITORY

BLANK_LINES = re.compile(r"\n\s*\n")


@dataclass(frozen=True, kw_only=True)
class LocalText(JoinedText):
    """A file cut into three parts: calibration, then validation, then test.

    A whole document belongs to the split that contains its middle. The splits are contiguous, not
    mixed, so that neighbouring paragraphs of one work stay in one split.

    Attributes:
        path: the file.
        shares: fractions of the characters for validation and test; the rest is for calibration.
    """

    path: File
    shares: Shares

    def documents(self) -> dict[str, list[str]]:
        """Return the documents of each split, in order.

        Raises:
            RadioError: the file is absent, is not UTF-8 text, or has too few documents.
        """
        documents = [part.strip() for part in BLANK_LINES.split(self._text()) if part.strip()]
        total = sum(map(len, documents))
        test_from = total * (1 - self.shares["test"])
        validation_from = test_from - total * self.shares["validation"]
        splits: dict[str, list[str]] = {"calibration": [], "validation": [], "test": []}
        before = 0
        for document in documents:
            middle = before + len(document) / 2
            before += len(document)
            late = "test" if middle >= test_from else "validation"
            splits[late if middle >= validation_from else "calibration"].append(document)
        if empty := [split for split, found in splits.items() if not found]:
            raise RadioError(
                f"data.path={self.path} has {len(documents)} documents, which leaves none for "
                f"{' and '.join(empty)}: separate its documents by blank lines, or give more text"
            )
        return splits

    def _text(self) -> str:
        """Return the file's text with line feeds as line ends and without a byte order mark.

        Raises:
            RadioError: the file is absent or is not UTF-8 text.
        """
        try:
            text = Path(self.path).expanduser().read_text(encoding="utf-8-sig")
        except (OSError, ValueError, RuntimeError) as error:
            raise RadioError(
                f"data.path={self.path} cannot be read ({error}): give a text file in UTF-8"
            ) from error
        if "\0" in text:
            raise RadioError(
                f"data.path={self.path} holds NUL bytes, so it is no text: give a text file in "
                "UTF-8"
            )
        return text


@dataclass(frozen=True, kw_only=True)
class PackagedText(LocalText):
    """A file shipped with the code; `path` is relative to the repository."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "path", str(REPOSITORY / self.path))
