"""The user's own text: one UTF-8 file, its documents separated by blank lines."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from radio.data.joined import JoinedText
from radio.runtime.errors import RadioError
from radio.runtime.wheel import REPOSITORY


@dataclass(frozen=True, kw_only=True)
class LocalText(JoinedText):
    """A file cut in three: its beginning calibrates, then comes validation, its end tests.

    Whole documents go to the split that their middle falls in. The splits are stretches of the
    file, not mixed, so that neighbouring paragraphs of one work do not end in different splits.

    Attributes:
        path: the file.
        shares: part of the characters that validation and test get; calibration has the rest.
    """

    path: str
    shares: Mapping[str, float]

    def documents(self) -> dict[str, list[str]]:
        """Documents of each split, in order.

        Raises:
            RadioError: the file is absent or not UTF-8.
        """
        try:
            text = Path(self.path).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise RadioError(
                f"data.path={self.path} cannot be read ({error}): give a text file in UTF-8"
            ) from error
        documents = [part.strip() for part in re.split(r"\n\s*\n", text) if part.strip()]
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
        return splits


@dataclass(frozen=True, kw_only=True)
class PackagedText(LocalText):
    """A file that comes with the code; `path` is relative to the repository."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "path", str(REPOSITORY / self.path))
