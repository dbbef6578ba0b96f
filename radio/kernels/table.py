"""The table of the benchmark: the paper's ratios beside ours, and a rendering for readers."""

from pathlib import Path

import pandas as pd

SHOWN = {
    "source": "Matrix",
    "rows": "Rows",
    "cols": "Columns",
    "bits_depth": "Bits, depth",
    "packed_ms": "Packed, ms",
    "fp32_ms": "fp32, ms",
    "bf16_ms": "bf16, ms",
    "fp16_ms": "fp16, ms",
    "speedup_fp32": "Over fp32",
    "speedup_bf16": "Over bf16",
    "speedup_fp16": "Over fp16",
    "speedup_fp16_paper": "Paper, over fp16",
    "packed_gb_per_s": "GB/s",
    "read_gb_per_s": "Reading, GB/s",
    "bandwidth_share": "Share",
}
TITLE = "Products of packed matrices with one vector"
NOTE = (
    "Medians of interleaved turns; every matrix comes from memory. *GB/s* counts the packed bytes: "
    "codes, scales, locations, order; *share* is its part of what plain reading reaches. The "
    "paper's ratios are those of another machine (A6000, against cuBLAS FP16)."
)


def with_paper(table: pd.DataFrame, paper: Path) -> pd.DataFrame:
    """The table with `speedup_fp16_paper`, where the paper has the shape and the depth."""
    values = pd.read_csv(paper).rename(columns={"speedup_vs_fp16_cublas": "speedup_fp16_paper"})
    values["asked_bits"] = 3.0  # the only rate that the paper timed
    return table.merge(values, how="left", on=["embedding_dim", "matrix", "asked_bits"])


def markdown(table: pd.DataFrame) -> str:
    """A document with the table, each number to three digits; a dash where there is none."""
    first = table.iloc[0]
    machine = f"{first.device} ({first.capability}), {first.threads} threads, torch {first.torch}"
    lines = [f"| {' | '.join(SHOWN.values())} |", f"|---{'|--:' * (len(SHOWN) - 1)}|"]
    for row in table[list(SHOWN)].to_dict("records"):
        cells = [_cell(value) for value in row.values()]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([f"### {TITLE}", "", *lines, "", NOTE, "", f"{machine}.", ""])


def _cell(value: object) -> str:
    if isinstance(value, float):
        return "—" if pd.isna(value) else f"{value:#.3g}".rstrip(".")
    return str(value)
