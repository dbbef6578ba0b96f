"""Time products with packed matrices beside dense ones, on this machine."""

from collections import defaultdict
from pathlib import Path

import pandas as pd
import torch
from omegaconf import DictConfig

from radio.checkpoint import load_quantized
from radio.kernels.bench import Case, fits, measure, random_case
from radio.kernels.table import markdown, with_paper
from radio.packing.codecs import Companded
from radio.runtime.compose import CONFIG
from radio.runtime.files import atomic
from radio.runtime.manifest import recorded
from radio.runtime.progress import progress
from radio.steps.inputs import given


def run(cfg: DictConfig) -> None:
    """Random matrices, and those of `artifacts.quantized` -> a table at `out`, and as Markdown."""
    out = Path(cfg.out)
    with recorded("bench", cfg, out) as measured:
        automatic = "cuda" if torch.cuda.is_available() else "cpu"
        device = torch.device(automatic if cfg.device == "auto" else cfg.device)
        shapes = [shape for dim in cfg.embedding_dims for shape in _of_paper(dim)]
        shapes += [(0, "", rows, cols) for rows, cols in cfg.shapes]
        measured["too_large"] = [shape[2:] for shape in shapes if not fits(*shape[2:], device)]
        shapes = [shape for shape in shapes if fits(*shape[2:], device)]
        settings = [(*shape, float(bits)) for shape in shapes for bits in cfg.mean_bits]
        rows = [
            measure(
                random_case(*each, cfg.spread_bits, cfg.group_rows, cfg.seed), device, cfg.rounds
            )
            for each in progress(settings, "matrices")
        ]
        if (coded := given(cfg, "quantized")) is not None:
            rows += [measure(case, device, cfg.rounds) for case in _of_model(coded)]
        table = with_paper(pd.DataFrame(rows), CONFIG / "paper" / cfg.paper)
        with atomic(out) as scratch:
            table.to_csv(scratch, index=False)
        with atomic(out.with_suffix(".md")) as scratch:
            scratch.write_text(markdown(table))
        measured["rows"] = len(table)


def _of_paper(dim: int) -> list[tuple[int, str, int, int]]:
    """E, the paper's name, rows and columns of its shapes."""
    return [(dim, "ExE", dim, dim), (dim, "Ex4E", dim, 4 * dim), (dim, "4ExE", 4 * dim, dim)]


def _of_model(coded: Path) -> list[Case]:
    """The matrices of a quantized model, a case a shape."""
    shapes = defaultdict(list)
    for layer in load_quantized(coded).layers.values():
        if isinstance(layer.weight, Companded):
            shapes[layer.weight.shape].append(layer.weight)
    return [Case(str(coded), matrices) for matrices in shapes.values()]
