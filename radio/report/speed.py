"""The tables of speed: products of packed matrices with a vector, and text generation."""

from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from radio.report.formatting import three_digits
from radio.report.writer import Column, Section, markdown

PRODUCTS = {
    "source": "Matrix",
    "rows": "Rows",
    "cols": "Columns",
    "bits_depth": "Mean depth",
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
    "read_gb_per_s": "Plain read, GB/s",
    "bandwidth_share": "Share",
}
PRODUCTS_NOTE = (
    "Medians of interleaved rounds; every matrix is read from memory, not from a cache. *Random "
    "depths* are rounded normal variates; others are drawn from an allocation. fp32, bf16 and "
    "fp16 are torch's products, Q3_K, Q4_K and Q4_0 are ggml's. *GB/s* counts packed bytes: "
    "codes, scales, locations, row order; *share* is relative to a plain read of memory. The "
    "paper's ratios are from another machine (A6000, against cuBLAS FP16)."
)
GENERATION = {
    "weights": "Weights",
    "dtype": "Activations",
    "bpw": "bpw",
    "weight_bytes": "Weights in memory, bytes",
    "decode_tokens_per_s": "Decoding, tokens/s",
}
GENERATION_NOTE = (
    "One sequence, greedy; medians of interleaved rounds; decoding is timed after the first "
    "prompt. llama.cpp runs the original GGUF file, whose values, rounded to float16, are the "
    "dense weights; it rounds activations to 8 bits."
)


def with_paper(table: pd.DataFrame, paper: Path) -> pd.DataFrame:
    """Return the table of products with `speedup_fp16_paper`, for the paper's shapes and depth."""
    values = pd.read_csv(paper).rename(columns={"speedup_vs_fp16_cublas": "speedup_fp16_paper"})
    values["asked_bits"] = 3.0  # the only rate that the paper timed
    return table.merge(values, how="left", on=["embedding_dim", "matrix", "asked_bits"])


def products_markdown(table: pd.DataFrame) -> str:
    """Return the table of products as Markdown, each number to three digits."""
    first = table.iloc[0]
    machine = f"{first.device} ({first.capability}), {first.threads} threads, torch {first.torch}"
    machine += f", xllamacpp {first.xllamacpp}" if first.xllamacpp else ", without ggml"
    title = "Products of packed matrices with a vector"
    return _markdown(title, table, PRODUCTS, [PRODUCTS_NOTE, f"{machine}."])


def generation_markdown(table: pd.DataFrame) -> str:
    """Return the table of generation speeds as Markdown, each number to three digits."""
    first = table.iloc[0]
    prompts = [name for name in map(str, table) if name.startswith("prefill_")]
    headings = GENERATION | {name: f"Prompt of {name.split('_')[1]}, tokens/s" for name in prompts}
    machine = f"{first.device} ({first.capability}), {first.threads} threads, torch {first.torch}"
    machine += f", transformers {first.transformers}"
    machine += f", xllamacpp {first.xllamacpp}" if first.xllamacpp else ", without llama.cpp"
    title = f"Generation speed of {first.model}"
    return _markdown(title, table, headings, [GENERATION_NOTE, f"{machine}."])


def _markdown(
    title: str, table: pd.DataFrame, headings: Mapping[str, str], caption: list[str]
) -> str:
    words, *numbers = (_column(heading, name) for name, heading in headings.items())
    columns = [Column(words.heading, words.text), *numbers]
    return markdown(title, [Section(table.to_dict("records"), columns)], caption)


def _column(heading: str, name: str) -> Column:
    return Column(heading, lambda row: three_digits(row[name]), "number")
