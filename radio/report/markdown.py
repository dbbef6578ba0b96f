"""The table for reading: rounded to what is known, with units, caption and provenance."""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pandas as pd

from radio.report.verdict import Tolerance
from radio.report.wording import (
    MISSING,
    allowances,
    marked,
    number,
    scaled,
    shared_notes,
    table_lines,
    with_error,
    word,
)
from radio.runtime.errors import RadioError
from radio.runtime.files import atomic
from radio.runtime.manifest import read_manifest

BEGIN, END = "<!-- results:begin -->", "<!-- results:end -->"
# quantities that are shares, and shown in percent
PERCENT = {"pruned"}


def render(
    table: pd.DataFrame,
    title: str,
    *,
    method_labels: Mapping[str, str],
    model_labels: Mapping[str, str],
    text_labels: Mapping[str, str],
    model_notes: Mapping[str, str],
    tolerances: Sequence[tuple[str, Tolerance]] = (),
    provenance: Sequence[str] = (),
) -> str:
    """A Markdown document with the table of `radio.report.table.build_table`.

    Args:
        table: as built; every number in the result is one of its numbers, rounded.
        title: heading.
        method_labels: what readers call the methods, by name.
        model_labels: the same of the models.
        text_labels: the same of the texts.
        model_notes: caveats of models, by name.
        tolerances: what is allowed between ours and the paper's, and for which methods.
        provenance: lines on devices and versions (`provenance`).
    """
    footnotes = shared_notes(table.note)
    rows = [
        {
            "Model": model_labels.get(row["model"], row["model"]),
            "Text": text_labels.get(row["text"], row["text"]),
            "Method": method_labels.get(row["method"], row["method"]),
            **_numbers(row),
            "Note": marked(row["note"], footnotes) or MISSING,
        }
        for row in table.to_dict("records")
    ]
    caption = [
        *(f"[{number}] {note}" for note, number in footnotes.items()),
        "Bits are per quantized weight: *depth* is the mean bit depth that the paper quotes, "
        "*true* adds everything a decoder needs (scales, locations, depths, row order, biases). "
        "± is one standard error over text blocks; that of the increase over FP16 is paired, "
        "and is the one to compare methods by. KL divergence is from the FP16 model's "
        "distribution. Time is that of calibration, measured distortions, search, allocation and "
        "quantization, as far as a method has them.",
        *allowances(tolerances, method_labels),
        *_protocols(table, text_labels),
        *(f"{model_labels.get(name, name)}: {note}" for name, note in model_notes.items()),
        *provenance,
    ]
    lines = table_lines(rows)
    return "\n".join([f"### {title}", "", *lines, "", *(f"{line}  " for line in caption)]) + "\n"


def provenance(evaluations: Iterable[Path]) -> list[str]:
    """One sentence on the devices, versions and commits of the evaluations that were run."""
    manifests = []
    for path in evaluations:
        with suppress(RadioError):  # absent or corrupt: the row's note says so
            manifests.append(read_manifest(path))
    devices = [f"{m['device']['name']}, {m['device']['threads']} threads" for m in manifests]
    libraries = [
        ", ".join(f"{name} {m['versions'].get(name)}" for name in ("torch", "transformers"))
        for m in manifests
    ]
    commits = [str(m["commit"]) for m in manifests]
    parts = {"Measured on": devices, "with": libraries, "at commit": commits}
    sentence = " ".join(f"{word} {' / '.join(dict.fromkeys(p))}" for word, p in parts.items() if p)
    return [f"{sentence}."] if sentence else []


def replace_results(text: str, results: str) -> str:
    r"""The README `text` with `results` between its two markers.

    >>> replace_results("a <!-- results:begin -->old<!-- results:end --> b", "new").split("\n")
    ['a <!-- results:begin -->', 'new', '<!-- results:end --> b']

    Raises:
        RadioError: the markers are not there exactly once and in order.
    """
    head, begin, rest = text.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not begin or not end or BEGIN in rest or END in tail:
        raise RadioError(f"the README needs one line {BEGIN} and below it one line {END}")
    return f"{head}{BEGIN}\n{results.strip()}\n{END}{tail}"


def save(rendered: str, out: Path, readme: str | None = None) -> None:
    """Write the document at `out`, and into the block of results of the file `readme` if given.

    Raises:
        RadioError: `readme` does not exist or lacks the markers; then nothing is written.
    """
    files = {out: rendered}
    if readme is not None:
        if not Path(readme).is_file():
            raise RadioError(f"readme={readme} does not exist: give the path of a README, or null")
        files[Path(readme)] = replace_results(Path(readme).read_text(), rendered)
    for path, text in files.items():
        with atomic(path) as scratch:
            scratch.write_text(text)


def _numbers(row: Mapping[Any, Any]) -> dict[str, str]:
    """One row's numbers by column heading."""
    target = "=" in str(row["asked"])
    missing = f"{row['asked']} asked"
    compared = next((name for name in PERCENT if f"{name}_paper" in row), "perplexity")
    scale = 100.0 if compared in PERCENT else 1.0
    return {
        "Asked": str(row["asked"]) if target else MISSING,
        "Met on validation": number(row["loss_validation"], 4),
        "Bits, depth": number(row["bits_paper"], 3) if pd.notna(row["bits_paper"]) else missing,
        "Bits, true": number(row["bits_true"], 3),
        "Size, MB": number(scaled(row["size_bytes"], 1e-6), 1),
        "Perplexity": with_error(row["perplexity"], row["perplexity_se"]),
        "Increase over FP16": with_error(row["perplexity_increase"], row["perplexity_increase_se"]),
        "Pruned, %": number(scaled(row["pruned"], 100.0), 2) if scale > 1 else MISSING,
        "Paper": number(scaled(row.get(f"{compared}_paper"), scale), 2),
        "Ours − paper": number(scaled(row.get(f"{compared}_difference"), scale), 2, sign="+"),
        "Tolerance": number(scaled(row.get("tolerance"), scale), 2),
        "Verdict": word(row.get("verdict")),
        "KL, nats/token": with_error(row["kl"], row["kl_se"]),
        "Seeds": number(row["seeds"], 0),
        "KL, deviation over seeds": number(row["kl_spread"], 4),
        "Same top token, %": number(scaled(row["top1_agreement"], 100.0), 1),
        "Time, s": number(row["wall_s"], 0),
    }


def _protocols(table: pd.DataFrame, text_labels: Mapping[str, str]) -> list[str]:
    """A line on the protocol of each text."""
    known = table.dropna(subset=["protocol"])
    return [
        f"{text_labels.get(str(text), text)}: {' / '.join(dict.fromkeys(group.protocol))}."
        for text, group in known.groupby("text", sort=False)
    ]
