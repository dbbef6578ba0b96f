"""The table of the benchmark: the paper's ratios beside ours, and a rendering for readers."""

from collections.abc import Mapping
from math import isnan
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
    "ggml_f16_ms": "ggml F16, ms",
    "ggml_q3_k_ms": "Q3_K, ms",
    "ggml_q4_k_ms": "Q4_K, ms",
    "ggml_q4_0_ms": "Q4_0, ms",
    "speedup_fp32": "Over fp32",
    "speedup_bf16": "Over bf16",
    "speedup_fp16": "Over fp16",
    "speedup_ggml_f16": "Over ggml F16",
    "speedup_ggml_q3_k": "Over Q3_K",
    "speedup_ggml_q4_k": "Over Q4_K",
    "speedup_fp16_paper": "Paper, over fp16",
    "packed_gb_per_s": "GB/s",
    "read_gb_per_s": "Reading, GB/s",
    "bandwidth_share": "Share",
}
TITLE = "Products of packed matrices with one vector"
NOTE = (
    "Medians of interleaved turns; every matrix comes from memory. *Random depths* are rounded "
    "normal ones; others are drawn from an allocation. fp32, bf16 and fp16 are torch's, Q3_K, Q4_K "
    "and Q4_0 ggml's. *GB/s* counts the packed bytes: codes, scales, "
    "locations, order; *share* is its part of what plain reading reaches. The "
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
    machine += f", xllamacpp {first.xllamacpp}" if first.xllamacpp else ", without ggml"
    return "\n".join([f"### {TITLE}", "", *grid(table, SHOWN), "", NOTE, "", f"{machine}.", ""])


def grid(table: pd.DataFrame, shown: Mapping[str, str]) -> list[str]:
    """Lines of a Markdown table of the columns `shown`, under their headings there."""
    lines = [f"| {' | '.join(shown.values())} |", f"|---{'|--:' * (len(shown) - 1)}|"]
    for row in table[list(shown)].to_dict("records"):
        cells = [_cell(value) for value in row.values()]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _cell(value: object) -> str:
    if isinstance(value, float):
        if isnan(value):
            return "—"
        return f"{value:.0f}" if value >= 100 else f"{value:#.3g}".rstrip(".")
    return str(value)
