"""How long a product with a packed matrix takes, beside torch's with dense ones.

All are timed in turns, in the same seconds of the same machine, over as many copies of the matrix
as do not fit into its caches, together with plain reading of memory. A wrong kernel is not timed.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle
from math import nan
from statistics import median
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import linear
from torch.utils.benchmark import Timer

from radio.kernels import reference
from radio.kernels.layout import packed_matrix
from radio.kernels.linear import packed_linear
from radio.packing.codecs import Companded
from radio.runtime.errors import RadioError
from radio.theory.allocation import MAX_BITS

DENSE = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
# of each kind of matrix: three times the largest cache seen
COPIES_BYTES = 96 * 2**20
STREAM_BYTES = 2**28
# a weight in float32 (twice while it is converted), bfloat16, float16, as a code, and packed
WEIGHT_BYTES = 4 + 4 + 2 + 2 + 1 + 1
# seconds of one kind before the next has its turn
TURN_S = 0.01
# rows whose products are checked: float64 weights of the largest matrices would not fit
CHECKED_ROWS = 2048
# relative error of float32 sums of the longest rows, with much to spare
TOLERANCE = 1e-5


@dataclass(frozen=True)
class Case:
    """Matrices of one shape to be timed.

    Attributes:
        source: where they come from.
        matrices: at least one; they take turns.
        asked_bits: mean depth that was asked for, NaN where nothing was.
        embedding_dim: E of the paper's table; 0 if the shape is not from there.
        matrix: its name for the shape.
    """

    source: str
    matrices: Sequence[Companded]
    asked_bits: float = nan
    embedding_dim: int = 0
    matrix: str = ""


def fits(rows: int, cols: int, device: torch.device) -> bool:
    """Whether memory holds a matrix of this shape in all its forms, most of it dense."""
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if device.type == "cuda":
        memory = min(memory, torch.cuda.mem_get_info(device)[0])
    return rows * cols * WEIGHT_BYTES + 4 * COPIES_BYTES + STREAM_BYTES < memory


def random_case(
    embedding_dim: int,
    matrix: str,
    rows: int,
    cols: int,
    mean_bits: float,
    spread_bits: float,
    group_rows: int,
    seed: int,
) -> Case:
    """A case of random codes, under random depths of a mean and a standard deviation."""
    coded = random_matrix(rows, cols, mean_bits, spread_bits, group_rows, seed)
    return Case("random depths", [coded], mean_bits, embedding_dim, matrix)


def random_matrix(
    rows: int, cols: int, mean_bits: float, spread_bits: float, group_rows: int, seed: int
) -> Companded:
    """Random codes; depths are rounded normal draws of a mean and a standard deviation."""
    generator = torch.Generator().manual_seed(seed)
    clusters = max(1, rows // group_rows)
    cluster = (torch.arange(rows) * clusters // rows)[torch.randperm(rows, generator=generator)]
    drawn = mean_bits + spread_bits * torch.randn(clusters, cols, generator=generator)
    depths = drawn.round().clamp(0, MAX_BITS).to(torch.uint8)
    codes = torch.randint(0, 256, (rows, cols), generator=generator, dtype=torch.uint8)
    masks = (2 ** depths.int() - 1).to(torch.uint8)
    for c in range(clusters):
        codes[cluster == c] &= masks[c]
    return Companded(
        codes=codes,
        cluster=cluster,
        depths=depths,
        location=(0.01 * torch.randn(clusters, cols, generator=generator)).half(),
        scale=(0.01 + 0.05 * torch.rand(clusters, cols, generator=generator)).half(),
    )


def measure(case: Case, device: torch.device, rounds: int) -> dict[str, Any]:
    """Time one right-hand side of a case.

    Returns:
        A row of the table: medians over `rounds` turns in milliseconds, ratios to dense products,
        bytes read a second, and the share of what plain reading reaches.

    Raises:
        RadioError: the kernel's product is not the reference's.
    """
    rows, cols = case.matrices[0].shape
    inputs = torch.randn(1, cols, generator=torch.Generator().manual_seed(0)).to(device)
    packed = [packed_matrix(matrix).to(device) for matrix in case.matrices]
    check(case.matrices[0], packed_linear(inputs, packed[0]), inputs)
    size_bytes = sum(matrix.size_bytes() for matrix in packed) / len(packed)
    times = -(-COPIES_BYTES // sum(matrix.size_bytes() for matrix in packed))
    packed += [matrix.copy() for matrix in packed for _ in range(times - 1)]
    stream = torch.zeros(STREAM_BYTES // 4, device=device)

    calls = {"packed": _in_turn(packed_linear, inputs, packed)}
    for name, dtype in DENSE.items():
        copies = -(-COPIES_BYTES // (rows * cols * dtype.itemsize))
        dense = [torch.randn(rows, cols, device=device).to(dtype) for _ in range(copies)]
        calls[name] = _in_turn(linear, inputs.to(dtype), dense)
    calls["read"] = iter(lambda: stream.sum(), None)
    ms = {name: 1e3 * seconds for name, seconds in _medians(calls, rounds).items()}
    bandwidth, reached = STREAM_BYTES / ms["read"] / 1e6, size_bytes / ms["packed"] / 1e6
    bits = sum(matrix.code_bits() for matrix in case.matrices) / (rows * cols * len(case.matrices))
    return {
        "source": case.source,
        "embedding_dim": case.embedding_dim,
        "matrix": case.matrix,
        "asked_bits": case.asked_bits,
        "rows": rows,
        "cols": cols,
        "bits_depth": bits,
        "packed_bytes": round(size_bytes),
        "packed_ms": ms["packed"],
        **{f"{name}_ms": ms[name] for name in DENSE},
        **{f"speedup_{name}": ms[name] / ms["packed"] for name in DENSE},
        "packed_gb_per_s": reached,
        "read_gb_per_s": bandwidth,
        "bandwidth_share": reached / bandwidth,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "capability": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }


def check(matrix: Companded, outputs: Tensor, inputs: Tensor) -> None:
    """Compare the first rows of a product with the reference's.

    Raises:
        RadioError: they differ by more than float32 sums may.
    """
    some = slice(0, CHECKED_ROWS)
    first = Companded(
        matrix.codes[some],
        matrix.cluster[some],
        matrix.depths,
        matrix.location,
        matrix.scale,
        matrix.codebook,
    )
    expected = reference.product(first, inputs.cpu().float())
    error = float((outputs.cpu().double()[:, some] - expected).norm() / expected.norm())
    if not error < TOLERANCE:  # nor is NaN
        raise RadioError(
            f"the kernel's product of {matrix.shape} is wrong by {error:.1e}, so it is not timed: "
            "report this, with the machine it ran on"
        )


def _in_turn(function: Any, inputs: Tensor, weights: Sequence[Any]) -> Iterator[Tensor]:
    """Products with one weight after another, for ever."""
    return (function(inputs, weight) for weight in cycle(weights))


def _medians(calls: Mapping[str, Iterator[Tensor]], rounds: int) -> dict[str, float]:
    """Median seconds a call, where all take turns."""
    timers = {
        name: Timer("next(call)", globals={"call": call}, num_threads=torch.get_num_threads())
        for name, call in calls.items()
    }
    counts = {name: max(1, round(TURN_S / timer.timeit(3).mean)) for name, timer in timers.items()}
    turns = [
        {name: timer.timeit(counts[name]).mean for name, timer in timers.items()}
        for _ in range(rounds)
    ]
    return {name: median(turn[name] for turn in turns) for name in timers}
