"""The ledger as a page: what of the paper is reproduced, table by table, value by value."""

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import pandas as pd

from radio.report.names import numbered
from radio.report.verdict import NOT_COMPARABLE, NOT_REPRODUCED, NOT_RUN, REPRODUCED
from radio.runtime.files import atomic

VERDICTS = (REPRODUCED, NOT_REPRODUCED, NOT_COMPARABLE, NOT_RUN)
MISSING = "—"
HEADINGS = (
    "Cell",
    "Quantity",
    "Paper",
    "Ours",
    "Ours − paper",
    "Tolerance",
    "Verdict",
    "How ours was made",
    "Note",
)
# everything is within .ledger, since the report shows the page inside its own
STYLE = """
.ledger { font: 13px/1.4 system-ui, sans-serif; color: #222; overflow-x: auto; }
.ledger h1 { font-size: 1.5em; font-weight: bold; margin: 0.5em 0; }
.ledger table { border-collapse: collapse; margin: 0.5em 0 1em; }
.ledger th, .ledger td { padding: 0.15em 0.4em; border-bottom: 1px solid #ddd; }
.ledger th, .ledger td { vertical-align: top; }
.ledger th { text-align: left; border-bottom: 1px solid #888; font-weight: bold; }
.ledger td.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
.ledger summary { cursor: pointer; font-weight: bold; margin: 0.5em 0; }
.ledger .reproduced { color: #0072B2; font-weight: bold; }
.ledger .not-reproduced { color: #D55E00; font-weight: bold; }
"""
INTRODUCTION = (
    "Every value of the paper's tables stands here once, beside ours where it was run. "
    "<b>Reproduced</b> means within the tolerance, which config/paper/tolerances.csv gives with "
    "its reason and which grows with the spread over seeds where there are several; <b>not "
    "comparable</b> that the protocol or the device is another, or that the paper's value is odd "
    "(the note says which); <b>not run</b> that there is no manifest. All is read from manifests."
)


def page(ledger: pd.DataFrame, specs: Mapping[str, Mapping[str, Any]]) -> str:
    """The ledger of `radio.report.ledger.ledger` as an HTML document that needs no other file.

    Args:
        ledger: as built.
        specs: title, experiments and embedded studies of each table, by name.
    """
    details = [
        _details(name, spec, ledger[ledger.table == name])
        for name, spec in specs.items()
        if (ledger.table == name).any()
    ]
    body = ["<h1>Ledger</h1>", f"<p>{INTRODUCTION}</p>", _summary(ledger, specs), *details]
    return "\n".join(
        [
            "<!DOCTYPE html>",
            '<html lang="en"><head><meta charset="utf-8"><title>Ledger</title>',
            f"<style>{STYLE}</style></head>",
            '<body><div class="ledger">',
            *body,
            "</div></body></html>",
            "",
        ]
    )


def save_page(html: str, out: Path) -> None:
    """Write the page, atomically."""
    with atomic(out) as scratch:
        scratch.write_text(html)


def _summary(ledger: pd.DataFrame, specs: Mapping[str, Mapping[str, Any]]) -> str:
    """A row for each table: how many of its cells have which verdict, and what stands in for it."""
    rows = []
    for name, spec in specs.items():
        verdicts = ledger.verdict[ledger.table == name]
        counts = [
            str(int((verdicts == word).sum())) if len(verdicts) else MISSING for word in VERDICTS
        ]
        rows.append(
            [
                f"{escape(numbered(name))}: {escape(str(spec['title']))}",
                str(len(verdicts)) if len(verdicts) else "not kept",
                *(counts if len(verdicts) else [MISSING] * len(VERDICTS)),
                escape(", ".join(spec["embedded"]) or MISSING),
            ]
        )
    counts = [str(int((ledger.verdict == word).sum())) for word in VERDICTS]
    rows.append(["All", str(len(ledger)), *counts, ""])
    headings = ["Table", "Cells", *(word.capitalize() for word in VERDICTS), "Embedded models"]
    return _table(headings, rows, numbers=range(1, 2 + len(VERDICTS)))


def _details(name: str, spec: Mapping[str, Any], cells: pd.DataFrame) -> str:
    """The cells of a table, folded."""
    rows = [
        [
            escape(str(row["cell"])),
            escape(str(row["quantity"])),
            *(_number(row[column]) for column in ("paper", "ours")),
            _number(row["difference"], "+"),
            _number(row["tolerance"]),
            f'<span class="{str(row["verdict"]).replace(" ", "-")}">{row["verdict"]}</span>',
            escape(_how(row)),
            escape(str(row["note"])),
        ]
        for row in cells.to_dict("records")
    ]
    return (
        f"<details><summary>{escape(numbered(name))}: {escape(str(spec['title']))}</summary>\n"
        f"{_table(HEADINGS, rows, numbers=range(2, 6))}\n</details>"
    )


def _how(row: Mapping[Any, Any]) -> str:
    """What the manifests say of a value, in one line."""
    if pd.isna(row["ours"]):
        return MISSING
    parts = [
        row["our_method"],
        f"{row['bits_true']:.3f} true bits" if pd.notna(row["bits_true"]) else "",
        row["protocol"],
        f"{row['wall_s']:.0f} s" if pd.notna(row["wall_s"]) else "",
        f"{row['peak_memory_bytes'] / 1e9:.1f} GB" if pd.notna(row["peak_memory_bytes"]) else "",
        row["device"],
        f"config {row['config_digest']}",
        f"commit {row['commit']}",
        row["versions"],
    ]
    return ", ".join(str(part) for part in parts if part)


def _table(headings: Sequence[str], rows: Sequence[Sequence[str]], numbers: range) -> str:
    """An HTML table of cells that are HTML already; `numbers` are its columns of numbers."""
    head = "".join(f"<th>{heading}</th>" for heading in headings)
    body = "\n".join(
        "<tr>"
        + "".join(
            f'<td class="number">{cell}</td>' if at in numbers else f"<td>{cell}</td>"
            for at, cell in enumerate(row)
        )
        + "</tr>"
        for row in rows
    )
    return f"<table><thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody></table>"


def _number(value: Any, sign: str = "") -> str:
    """Five digits are more than the paper prints; a dash where there is no number."""
    if pd.isna(value):
        return MISSING
    return f"{value:{sign}.5g}".replace("-", "−")
