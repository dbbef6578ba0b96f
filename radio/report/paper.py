"""The paper's perplexities, to stand beside ours."""

from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

import pandas as pd

from radio.runtime.errors import RadioError


@dataclass(frozen=True)
class PaperTable:
    """What the paper reports on one text.

    Attributes:
        values: columns model, method, bits (nominal), perplexity.
        caveats: columns model (a shell pattern), method, bits and caveat; an empty bits is "any".
        protocol: shell pattern of the labels under which a perplexity may stand beside it.
    """

    values: pd.DataFrame
    caveats: pd.DataFrame
    protocol: str

    def perplexity(self, model: str, method: str, rate_bits: float, protocol: str) -> float | None:
        """The paper's value for a cell; None where it has none under this protocol."""
        if not fnmatchcase(protocol, self.protocol):
            return None
        table = self.values
        same = (table.model == model) & (table.method == method) & (table.bits == rate_bits)
        return float(table.perplexity[same].iloc[0]) if same.any() else None

    def caveat(self, model: str, method: str, rate_bits: float) -> str:
        """Why the paper's value for a cell is not quite comparable; empty where it is."""
        for row in self.caveats.to_dict("records"):
            any_rate = pd.isna(row["bits"]) or row["bits"] == rate_bits
            if fnmatchcase(model, row["model"]) and row["method"] == method and any_rate:
                return str(row["caveat"])
        return ""


def load_paper_table(file: Path, text: str, protocol: str) -> PaperTable:
    """Read the paper's table on `text`, with the `caveats.csv` beside it.

    Raises:
        RadioError: a file is absent or lacks a column.
    """
    caveats = _read(file.parent / "caveats.csv", {"text", "model", "method", "bits", "caveat"})
    values = _read(file, {"model", "method", "bits", "perplexity"})
    return PaperTable(values, caveats[caveats.text == text], protocol)


def _read(path: Path, columns: set[str]) -> pd.DataFrame:
    try:
        table = pd.read_csv(path)
    except (FileNotFoundError, pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise RadioError(f"{path} cannot be read ({error}): restore it from git") from error
    if missing := columns - set(table.columns):
        raise RadioError(f"{path} lacks the columns {sorted(missing)}: restore it from git")
    return table
