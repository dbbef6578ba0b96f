"""The user's own text: one UTF-8 file, its documents separated by blank lines."""

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
    """A file cut in three: its beginning calibrates, then comes validation, its end tests.

    Whole documents go to the split that their middle falls in. The splits are stretches of the
    file, not mixed, so that neighbouring paragraphs of one work do not end in different splits.

    Attributes:
        path: the file.
        shares: part of the characters that validation and test get; calibration has the rest.
    """

    path: File
    shares: Shares

    def documents(self) -> dict[str, list[str]]:
        """Documents of each split, in order.

        Raises:
            RadioError: the file is absent, not a text in UTF-8, or has too few documents.
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
        """Return the file's text with line feeds for line ends, without a byte order mark.

        Raises:
            RadioError: the file is absent, or not a text in UTF-8.
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
    """A file that comes with the code; `path` is relative to the repository."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "path", str(REPOSITORY / self.path))
