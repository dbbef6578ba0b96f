"""The writer of all tables: columns, footnotes and a caption become Markdown, or HTML.

Each kind of table supplies its columns and its caption; only this module knows the two formats.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any, Literal, NamedTuple

from radio.report.formatting import (
    MISSING,
    footnotes,
    join_notes,
    notes_of,
    number,
    with_error,
    word,
)
from radio.runtime.errors import RadioError
from radio.runtime.files import atomic

BEGIN, END = "<!-- results:begin -->", "<!-- results:end -->"

Row = Mapping[Any, Any]


@dataclass(frozen=True)
class Column:
    """One column of a rendered table.

    Attributes:
        heading: text of its heading.
        text: returns the text of a row's cell, `MISSING` where the row has no value.
        kind: a "number" is aligned right; a "verdict" has its colour in HTML.
    """

    heading: str
    text: Callable[[Row], str]
    kind: Literal["text", "number", "verdict"] = "text"


def text_column(heading: str, name: str, labels: Mapping[str, str] | None = None) -> Column:
    """Return a column of words; `labels` are the readers' names of its values."""
    named = labels or {}
    return Column(heading, lambda row: word(named.get(str(row.get(name)), row.get(name))))


def number_column(
    heading: str, name: str, decimals: int, *, scale: float = 1.0, sign: str = ""
) -> Column:
    """Return a column of numbers in another unit (`scale`) and with fixed decimals."""
    return Column(
        heading, lambda row: number(row.get(name), decimals, scale=scale, sign=sign), "number"
    )


def estimate_column(heading: str, name: str, *, scale: float = 1.0) -> Column:
    """Return a column of estimates with their standard errors, which are in `{name}_se`."""
    return Column(
        heading, lambda row: with_error(row.get(name), row.get(f"{name}_se"), scale=scale), "number"
    )


class Footnotes:
    """Notes of rows: a note that several rows share becomes a footnote.

    Attributes:
        column: the column of notes, with the footnotes' marks.
        lines: the footnotes, for the caption.
    """

    def __init__(self, notes: Iterable[str]) -> None:
        """Number the shared ones among the `notes` of all rows of a document."""
        self._marks = footnotes(notes)
        self.column = Column("Note", lambda row: self._marked(row["note"]) or MISSING)
        self.lines = [f"[{mark}] {note}" for note, mark in self._marks.items()]

    def _marked(self, joined: str) -> str:
        notes = notes_of(joined)
        marks = "".join(f"[{self._marks[note]}]" for note in notes if note in self._marks)
        return join_notes([marks, *(note for note in notes if note not in self._marks)])


class Section(NamedTuple):
    """One table of a document, under a heading of its own unless it is empty."""

    rows: Sequence[Row]
    columns: Sequence[Column]
    heading: str = ""


def markdown(title: str, sections: Iterable[Section], caption: Iterable[str]) -> str:
    """Return a Markdown document: a title, tables, and a caption of one paragraph.

    A column in which no row has a value is left out.
    """
    lines = [f"### {title}", ""]
    for section in sections:
        lines += [f"#### {section.heading}", ""] if section.heading else []
        lines += [*_markdown_table(section.rows, section.columns), ""]
    return "\n".join([*lines, *(f"{line}  " for line in caption)]) + "\n"


def html_table(rows: Iterable[Row], columns: Sequence[Column]) -> str:
    """Return an HTML table; its classes are `number` and the words of a verdict."""
    head = "".join(f"<th>{escape(column.heading)}</th>" for column in columns)
    body = "\n".join(
        f"<tr>{''.join(_html_cell(column, column.text(row)) for column in columns)}</tr>"
        for row in rows
    )
    return f"<table><thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody></table>"


def save_document(document: str, out: Path, readme: str | None = None) -> None:
    """Write the document to `out`, and to the block of results in the file `readme` if given.

    Raises:
        RadioError: `readme` does not exist or lacks the markers; then nothing is written.
    """
    files = {out: document}
    if readme is not None:
        if not Path(readme).is_file():
            raise RadioError(f"readme={readme} does not exist: give the path of a README, or null")
        files[Path(readme)] = replace_results(Path(readme).read_text(encoding="utf-8"), document)
    for path, text in files.items():
        with atomic(path) as scratch:
            scratch.write_text(text, encoding="utf-8")


def replace_results(text: str, results: str) -> str:
    r"""Return the README `text` with `results` between its two markers.

    >>> replace_results("a <!-- results:begin -->old<!-- results:end --> b", "new").split("\n")
    ['a <!-- results:begin -->', 'new', '<!-- results:end --> b']

    Raises:
        RadioError: the two markers do not occur once each and in this order.
    """
    head, begin, rest = text.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not begin or not end or BEGIN in rest or END in tail:
        raise RadioError(f"the README needs one line {BEGIN} and below it one line {END}")
    return f"{head}{BEGIN}\n{results.strip()}\n{END}{tail}"


def _markdown_table(rows: Sequence[Row], columns: Sequence[Column]) -> list[str]:
    """Return the lines of a Markdown table."""
    cells = {column: [column.text(row) for row in rows] for column in columns}
    shown = [column for column in columns if any(text != MISSING for text in cells[column])]
    lines = [[column.heading for column in shown]]
    lines += [
        [text.replace("|", r"\|") for text in row]
        for row in zip(*(cells[c] for c in shown), strict=True)
    ]
    rule = "|".join("--:" if column.kind == "number" else "---" for column in shown)
    head, *body = (f"| {' | '.join(line)} |" for line in lines)
    return [head, f"|{rule}|", *body]


def _html_cell(column: Column, text: str) -> str:
    """Return one cell of an HTML table."""
    classes = {"text": "", "number": "number", "verdict": text.replace(" ", "-")}[column.kind]
    attribute = f' class="{escape(classes)}"' if classes else ""
    return f"<td{attribute}>{escape(text)}</td>"
