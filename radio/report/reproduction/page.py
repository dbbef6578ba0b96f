"""The ledger as an HTML page: a summary of all tables, then the values of each table."""

from collections.abc import Mapping
from html import escape
from typing import Any

import pandas as pd

from radio.report.formatting import MISSING, word
from radio.report.labels import numbered
from radio.report.verdict import NOT_COMPARABLE, NOT_REPRODUCED, NOT_RUN, REPRODUCED
from radio.report.writer import Column, Row, html_table, text_column

VERDICTS = (REPRODUCED, NOT_REPRODUCED, NOT_COMPARABLE, NOT_RUN)
# every rule is below .ledger, since the report embeds this page in its own
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
    "This page lists every value of the paper's tables once, next to ours if it was run. "
    "<b>Reproduced</b> means that the difference is within the tolerance, which "
    "config/paper/tolerances.csv gives with its reason and which the spread over seeds widens. "
    "<b>Not comparable</b> means that the protocol or the device differs, or that the paper's "
    "value is inconsistent (the note says which). <b>Not run</b> means that there is no manifest. "
    "All our values are read from manifests."
)


def page(ledger: pd.DataFrame, specs: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the ledger of `radio.report.reproduction.ledger` as a self-contained HTML document.

    Args:
        ledger: as built.
        specs: title and embedded experiments of each table, by name.
    """
    tables = [
        _table(name, spec, ledger[ledger.table == name])
        for name, spec in specs.items()
        if (ledger.table == name).any()
    ]
    body = ["<h1>Ledger</h1>", f"<p>{INTRODUCTION}</p>", _summary(ledger, specs), *tables]
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


def _summary(ledger: pd.DataFrame, specs: Mapping[str, Mapping[str, Any]]) -> str:
    """Return a row per table of the paper: its cells by verdict, and its embedded models."""
    columns = [
        text_column("Table", "table"),
        Column("Cells", lambda row: str(row["cells"]), "number"),
        *(_count_column(verdict) for verdict in VERDICTS),
        Column("Embedded models", lambda row: str(row["embedded"])),
    ]
    rows = [
        {
            "table": f"{numbered(name)}: {spec['title']}",
            "embedded": ", ".join(spec["embedded"]) or MISSING,
            **_counts(ledger.verdict[ledger.table == name]),
        }
        for name, spec in specs.items()
    ]
    rows.append({"table": "All", "embedded": "", **_counts(ledger.verdict)})
    return html_table(rows, columns)


def _counts(verdicts: pd.Series) -> dict[str, int | str]:
    """Return the number of cells, of all and of each verdict."""
    if verdicts.empty:
        return {"cells": "omitted"}
    return {"cells": len(verdicts), **{name: int((verdicts == name).sum()) for name in VERDICTS}}


def _count_column(verdict: str) -> Column:
    return Column(verdict.capitalize(), lambda row: str(row.get(verdict, MISSING)), "number")


def _table(name: str, spec: Mapping[str, Any], cells: pd.DataFrame) -> str:
    """Return the cells of one table of the paper, folded."""
    columns = [
        text_column("Cell", "cell"),
        text_column("Quantity", "quantity"),
        _value_column("Paper", "paper"),
        _value_column("Ours", "ours"),
        _value_column("Ours − paper", "difference", "+"),
        _value_column("Tolerance", "tolerance"),
        Column("Verdict", lambda row: str(row["verdict"]), "verdict"),
        Column("Provenance of ours", _provenance),
        Column("Note", lambda row: str(row["note"])),
    ]
    return (
        f"<details><summary>{escape(numbered(name))}: {escape(str(spec['title']))}</summary>\n"
        f"{html_table(cells.to_dict('records'), columns)}\n</details>"
    )


def _value_column(heading: str, name: str, sign: str = "") -> Column:
    """Return a column of values to five digits, more than the paper prints."""

    def text(row: Row) -> str:
        return MISSING if pd.isna(row[name]) else f"{row[name]:{sign}.5g}".replace("-", "−")

    return Column(heading, text, "number")


def _provenance(row: Row) -> str:
    """Return the provenance of our value in one line."""
    if word(row["ours"]) == MISSING:
        return MISSING
    parts = [
        row["our_method"],
        f"{row['bpw']:.3f} bpw" if pd.notna(row["bpw"]) else "",
        row["protocol"],
        f"{row['wall_s']:.0f} s" if pd.notna(row["wall_s"]) else "",
        f"{row['peak_memory_bytes'] / 1e9:.1f} GB" if pd.notna(row["peak_memory_bytes"]) else "",
        row["device"],
        f"config {row['config_digest']}",
        f"commit {row['commit']}",
        row["versions"],
    ]
    return ", ".join(str(part) for part in parts if part)
