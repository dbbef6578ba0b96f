"""The table of decoding speeds, for readers."""

import pandas as pd

from radio.kernels.table import grid

SHOWN = {
    "weights": "Weights",
    "dtype": "Activations",
    "bits_true": "Bits, true",
    "weight_bytes": "Weights in memory, bytes",
    "decode_tokens_per_s": "Decoding, tokens/s",
}
TITLE = "Decoding speed of {model}"
NOTE = (
    "One sequence, greedy; medians of interleaved turns; decoding is timed after the first prompt. "
    "llama.cpp runs the original GGUF file, of which the dense weights are the values rounded to "
    "float16, and itself rounds activations to 8 bits."
)


def markdown(table: pd.DataFrame) -> str:
    """A document with the table."""
    first = table.iloc[0]
    prefills = [name for name in map(str, table) if name.startswith("prefill_")]
    shown = SHOWN | {name: f"Prompt of {name.split('_')[1]}, tokens/s" for name in prefills}
    machine = f"{first.device} ({first.capability}), {first.threads} threads, torch {first.torch}"
    machine += f", transformers {first.transformers}"
    machine += f", xllamacpp {first.xllamacpp}" if first.xllamacpp else ", without llama.cpp"
    title = TITLE.format(model=first.model)
    return "\n".join([f"### {title}", "", *grid(table, shown), "", NOTE, "", f"{machine}.", ""])
