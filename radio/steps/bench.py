"""Time products with packed matrices, dense matrices and ggml's on this machine."""

from pathlib import Path

import pandas as pd
import torch
from omegaconf import DictConfig

from radio.allocate.depths import load_depths
from radio.benchmark.matmul import (
    Case,
    Shape,
    allocated_depths,
    coded_case,
    fits,
    measure,
    normal_depths,
)
from radio.report.speed import products_markdown, with_paper
from radio.runtime.compose import CONFIG
from radio.runtime.device import devices
from radio.runtime.files import atomic
from radio.runtime.manifest import read_manifest, recorded
from radio.runtime.outputs import output_path
from radio.runtime.progress import progress


def run(cfg: DictConfig) -> None:
    """Time random depths and `artifacts.allocation`; write a table to `out`, and as Markdown."""
    out = output_path(cfg.out)
    with recorded("bench", cfg, out, [".md"]) as (staged, measured):
        device = devices(cfg.device)[0]
        shapes = [shape for dim in cfg.embedding_dims for shape in _of_paper(dim)]
        shapes += [Shape(rows, cols) for rows, cols in cfg.shapes]
        too_large = [shape for shape in shapes if not fits(shape, device)]
        measured["too_large"] = [[shape.rows, shape.cols] for shape in too_large]
        rows = []
        for shape in progress([each for each in shapes if each not in too_large], "shapes"):
            rows += measure(shape, _cases(cfg, shape), device, cfg.rounds)
        table = with_paper(pd.DataFrame(rows), CONFIG / "paper" / cfg.paper)
        with atomic(staged) as scratch:
            table.to_csv(scratch, index=False)
        with atomic(staged.with_suffix(".md")) as scratch:
            scratch.write_text(products_markdown(table), encoding="utf-8")
        measured["rows"] = len(table)


def _of_paper(dim: int) -> list[Shape]:
    """Return the paper's shapes for an embedding dimension."""
    sizes = {"ExE": (dim, dim), "Ex4E": (dim, 4 * dim), "4ExE": (4 * dim, dim)}
    return [Shape(*size, dim, name) for name, size in sizes.items()]


def _cases(cfg: DictConfig, shape: Shape) -> list[Case]:
    """Return cases with random depths of every mean, and with the depths of every allocation."""
    means = [float(bits) for bits in cfg.mean_bits]
    draws = [("random depths", normal_depths(bits, cfg.spread_bits), bits) for bits in means]
    for path in map(Path, cfg.artifacts.allocation):
        made = read_manifest(path)["config"]
        pool = torch.cat([depths.flatten() for depths in load_depths(path).values()])
        source = f"{made['model']['name']} {made['method']['name']}"
        draws.append((source, allocated_depths(pool), float(made["rate_bits"])))
    return [
        coded_case(source, shape, draw, bits, cfg.group_rows, cfg.seed)
        for source, draw, bits in draws
    ]
