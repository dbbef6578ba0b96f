"""The table for reading: rounded to what is known, with units, caption and provenance."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pandas as pd

from radio.report.table import NOTES
from radio.report.verdict import Tolerance
from radio.runtime.errors import RadioError
from radio.runtime.files import atomic
from radio.runtime.manifest import read_manifest

BEGIN, END = "<!-- results:begin -->", "<!-- results:end -->"
MISSING = "—"
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
    footnotes = _footnotes(table.note)
    rows = [
        {
            "Model": model_labels.get(row["model"], row["model"]),
            "Text": text_labels.get(row["text"], row["text"]),
            "Method": method_labels.get(row["method"], row["method"]),
            **_numbers(row),
            "Note": _note(row["note"], footnotes) or MISSING,
        }
        for row in table.to_dict("records")
    ]
    shown = [name for name in rows[0] if any(row[name] != MISSING for row in rows)]
    words = {"Model", "Method", "Text", "Verdict", "Note"}
    lines = [
        "| " + " | ".join(shown) + " |",
        "|" + "|".join("---" if name in words else "--:" for name in shown) + "|",
        *(
            "| " + " | ".join(row[name].replace("|", r"\|") for name in shown) + " |"
            for row in rows
        ),
    ]
    caption = [
        *(f"[{number}] {note}" for note, number in footnotes.items()),
        "Bits are per quantized weight: *depth* is the mean bit depth that the paper quotes, "
        "*true* adds everything a decoder needs (scales, locations, depths, row order, biases). "
        "± is one standard error over text blocks; that of the increase over FP16 is paired, "
        "and is the one to compare methods by. KL divergence is from the FP16 model's "
        "distribution. Time is that of calibration, measured distortions, search, allocation and "
        "quantization, as far as a method has them.",
        *_tolerances(tolerances, method_labels),
        *_protocols(table, text_labels),
        *(f"{model_labels.get(name, name)}: {note}" for name, note in model_notes.items()),
        *provenance,
    ]
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
        "Met on validation": _number(row["loss_validation"], 4),
        "Bits, depth": _number(row["bits_paper"], 3) if pd.notna(row["bits_paper"]) else missing,
        "Bits, true": _number(row["bits_true"], 3),
        "Size, MB": _number(_scaled(row["size_bytes"], 1e-6), 1),
        "Perplexity": _with_error(row["perplexity"], row["perplexity_se"]),
        "Increase over FP16": _with_error(
            row["perplexity_increase"], row["perplexity_increase_se"]
        ),
        "Pruned, %": _number(_scaled(row["pruned"], 100.0), 2) if scale > 1 else MISSING,
        "Paper": _number(_scaled(row.get(f"{compared}_paper"), scale), 2),
        "Ours − paper": _number(_scaled(row.get(f"{compared}_difference"), scale), 2, sign="+"),
        "Tolerance": _number(_scaled(row.get("tolerance"), scale), 2),
        "Verdict": _word(row.get("verdict")),
        "KL, nats/token": _with_error(row["kl"], row["kl_se"]),
        "Seeds": _number(row["seeds"], 0),
        "KL, deviation over seeds": _number(row["kl_spread"], 4),
        "Same top token, %": _number(_scaled(row["top1_agreement"], 100.0), 1),
        "Time, s": _number(row["wall_s"], 0),
    }


def _protocols(table: pd.DataFrame, text_labels: Mapping[str, str]) -> list[str]:
    """A line on the protocol of each text."""
    known = table.dropna(subset=["protocol"])
    return [
        f"{text_labels.get(str(text), text)}: {' / '.join(dict.fromkeys(group.protocol))}."
        for text, group in known.groupby("text", sort=False)
    ]


def _tolerances(
    tolerances: Iterable[tuple[str, Tolerance]], method_labels: Mapping[str, str]
) -> list[str]:
    """What *reproduced* means, a line for each tolerance and the methods that have it."""
    methods: dict[Tolerance, list[str]] = {}
    for name, tolerance in tolerances:
        methods.setdefault(tolerance, []).append(method_labels.get(name, name))
    return [
        f"Reproduced, {' / '.join(names)}: within {allowed.absolute:g} or {allowed.relative:.2g} "
        f"of the paper's value, whichever is more: {allowed.reason}."
        for allowed, names in methods.items()
    ]


def _footnotes(column: Iterable[str]) -> dict[str, int]:
    """The notes that several rows have, numbered from 1 as they come."""
    counts = Counter(note for notes in column for note in _notes(notes))
    shared = (note for note, count in counts.items() if count > 1)
    return {note: number for number, note in enumerate(shared, start=1)}


def _note(joined: str, footnotes: Mapping[str, int]) -> str:
    """A row's notes, those of several rows as marks of their footnotes."""
    notes = _notes(joined)
    marks = "".join(f"[{footnotes[note]}]" for note in notes if note in footnotes)
    return NOTES.join(filter(None, [marks, *(note for note in notes if note not in footnotes)]))


def _notes(joined: str) -> list[str]:
    """The notes of one row."""
    return [note for note in joined.split(NOTES) if note]


def _scaled(value: Any, factor: float) -> Any:
    return value if value is None or pd.isna(value) else value * factor


def _word(value: Any) -> str:
    """A word, or a dash where there is none."""
    return MISSING if value is None or pd.isna(value) else str(value)


def _number(value: Any, decimals: int, sign: str = "") -> str:
    """A number to so many decimals; a dash where there is none."""
    if value is None or pd.isna(value):
        return MISSING
    return f"{value:{sign}.{decimals}f}".replace("-", "−")


def _with_error(value: Any, error: Any) -> str:
    """`38.21 ± 0.52`: the error to two digits, the value to the same place.

    >>> _with_error(38.2143, 0.5234), _with_error(0.139142, 0.00212), _with_error(660.4, 31.2)
    ('38.21 ± 0.52', '0.1391 ± 0.0021', '660 ± 31')
    """
    if value is None or pd.isna(value):
        return MISSING
    if error is None or pd.isna(error) or error <= 0:
        return _number(value, 0 if value == 0 else max(0, 3 - math.floor(math.log10(abs(value)))))
    decimals = min(4, max(0, 1 - math.floor(math.log10(error))))
    return f"{_number(value, decimals)} ± {error:.{decimals}f}"
