"""Time products with packed matrices, compared with those of torch and ggml.

All products are timed in turns on the same machine, together with plain reading of memory. There
are so many copies of a matrix that they exceed the caches. A wrong kernel is not timed.

Large matrices repeat a slab of rows, so they cost no more to create and to check than the slab.
"""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle
from math import gcd, nan
from statistics import median
from typing import Any

import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.nn.functional import linear
from torch.utils.benchmark import Timer

from radio.benchmark import ggml
from radio.kernels import reference
from radio.kernels.dispatch import packed_linear
from radio.kernels.layout import packed_matrix
from radio.pack.codecs import Companded
from radio.runtime.device import free_bytes, name_of
from radio.runtime.errors import RadioError
from radio.theory.allocation import MAX_BITS

DENSE = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
# bytes of all copies of a matrix: three times the largest cache seen
COPIES_BYTES = 96 * 2**20
STREAM_BYTES = 2**28
# bytes per weight in all forms: float32, bfloat16, float16, ggml's four types, and packed at 2, 3
# and 4 bits twice
WEIGHT_BYTES = 4 + 2 + 2 + 4 + 3
# seconds of a turn
TURN_S = 0.01
# minimum of weights in a slab, and rows of a strip of dense weights
SLAB_WEIGHTS = 2**23
STRIP_ROWS = 64
# relative; well above the error of float32 sums over the longest rows
TOLERANCE = 1e-5

Depths = UInt8[Tensor, "clusters cols"]


@dataclass(frozen=True)
class Shape:
    """Shape of a matrix to time.

    Attributes:
        embedding_dim: E in the paper's table; 0 if the shape is not in the paper.
        matrix: the paper's name of the shape.
    """

    rows: int
    cols: int
    embedding_dim: int = 0
    matrix: str = ""


@dataclass(frozen=True)
class Case:
    """A matrix to time, with its depths.

    Attributes:
        source: source of the depths.
        slab: codes of these depths.
        repeats: number of slabs in the matrix.
        asked_bits: requested mean depth.
    """

    source: str
    slab: Companded
    repeats: int
    asked_bits: float


def fits(shape: Shape, device: torch.device) -> bool:
    """Return whether a matrix of this shape fits into memory in all its forms."""
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if device.type == "cuda":
        memory = min(memory, free_bytes(device))
    return shape.rows * shape.cols * WEIGHT_BYTES + 14 * COPIES_BYTES + STREAM_BYTES < memory


def coded_case(
    source: str,
    shape: Shape,
    draw: Callable[[int, int, torch.Generator], Depths],
    asked_bits: float,
    group_rows: int,
    seed: int,
) -> Case:
    """Return a case of random codes with depths from `draw(clusters, cols, generator)`."""
    clusters = max(1, shape.rows // group_rows)
    least = -(-SLAB_WEIGHTS * clusters // (shape.rows * shape.cols))
    of_slab = next(
        n
        for n in range(min(least, clusters), clusters + 1)
        if clusters % n == 0 and shape.rows % (clusters // n) == 0
    )
    repeats = clusters // of_slab
    generator = torch.Generator().manual_seed(seed)
    depths = draw(of_slab, shape.cols, generator)
    slab = random_codes(shape.rows // repeats, depths, generator)
    return Case(source, slab, repeats, asked_bits)


def normal_depths(mean_bits: float, spread_bits: float) -> Callable[..., Depths]:
    """Return a function that draws depths from a rounded normal distribution."""

    def draw(clusters: int, cols: int, generator: torch.Generator) -> Depths:
        drawn = mean_bits + spread_bits * torch.randn(clusters, cols, generator=generator)
        return drawn.round().clamp(0, MAX_BITS).to(torch.uint8)

    return draw


def allocated_depths(pool: UInt8[Tensor, " groups"]) -> Callable[..., Depths]:
    """Return a function that draws depths from those of an allocation."""

    def draw(clusters: int, cols: int, generator: torch.Generator) -> Depths:
        return pool[torch.randint(len(pool), (clusters, cols), generator=generator)]

    return draw


def random_codes(rows: int, depths: Depths, generator: torch.Generator) -> Companded:
    """Return random codes of given depths; the rows of a cluster are scattered."""
    clusters, cols = depths.shape
    cluster = (torch.arange(rows) * clusters // rows)[torch.randperm(rows, generator=generator)]
    codes = torch.randint(0, 256, (rows, cols), generator=generator, dtype=torch.uint8)
    masks = (2 ** depths.int() - 1).to(torch.uint8)
    codes &= masks[cluster]
    return Companded(
        codes=codes,
        cluster=cluster,
        depths=depths,
        location=(0.01 * torch.randn(clusters, cols, generator=generator)).half(),
        scale=(0.01 + 0.05 * torch.rand(clusters, cols, generator=generator)).half(),
    )


def measure(
    shape: Shape, cases: Sequence[Case], device: torch.device, rounds: int
) -> list[dict[str, Any]]:
    """Time the product of each case with one vector.

    Returns:
        Rows of the table: medians over `rounds` turns in milliseconds, ratios to other products,
        bytes read per second, and their share of the bandwidth of plain reading.

    Raises:
        RadioError: a kernel's product differs from the reference.
    """
    inputs = torch.randn(1, shape.cols, generator=torch.Generator().manual_seed(0)).to(device)
    calls, sizes = dict[str, Iterator[Tensor]](), list[int]()
    for i, case in enumerate(cases):
        slab = packed_matrix(case.slab)
        packed = [slab.repeated(case.repeats).to(device)]
        check(case, packed_linear(inputs, packed[0]), inputs)
        sizes.append(packed[0].size_bytes())
        packed += [slab.repeated(case.repeats).to(device) for _ in range(_copies(sizes[-1]) - 1)]
        calls[f"case {i}"] = _in_turn(packed_linear, inputs, packed)
    strip = torch.randn(gcd(shape.rows, STRIP_ROWS), shape.cols)
    for name, dtype in DENSE.items():
        copies = _copies(shape.rows * shape.cols * dtype.itemsize)
        dense = [_tall(strip.to(device, dtype), shape.rows) for _ in range(copies)]
        calls[name] = _in_turn(linear, inputs.to(dtype), dense)
    stream = torch.zeros(STREAM_BYTES // 4, device=device)
    calls["read"] = iter(lambda: stream.sum(), None)
    others = _ggml(strip, shape, inputs[0]) if device.type == "cpu" and ggml.installed() else {}
    for name, products in others.items():
        calls[name] = (call() for call in cycle(products.calls()))
    ms = {name: 1e3 * seconds for name, seconds in _medians(calls, rounds).items()}
    for products in others.values():
        products.close()
    return [
        _row(shape, case, ms[f"case {i}"], size_bytes, ms, device)
        for i, (case, size_bytes) in enumerate(zip(cases, sizes, strict=True))
    ]


def check(case: Case, outputs: Tensor, inputs: Tensor) -> None:
    """Compare a product with the reference.

    Raises:
        RadioError: the error is larger than float32 sums explain.
    """
    expected = reference.product(case.slab, inputs.cpu().float()).repeat(1, case.repeats)
    error = float((outputs.cpu().double() - expected).norm() / expected.norm())
    if not error < TOLERANCE:  # also true for NaN
        raise RadioError(
            f"the kernel's product of {case.slab.shape} is wrong by {error:.1e}, so it is not "
            "timed: report this, with the machine it ran on"
        )


def _ggml(
    strip: Float[Tensor, "some cols"], shape: Shape, inputs: Float[Tensor, " cols"]
) -> dict[str, ggml.Products]:
    """Return ggml's checked products by name, for the types that the shape allows."""
    found = {}
    for name, kind in ggml.TYPES.items():
        if not ggml.fits(shape.cols, kind):
            continue
        data = ggml.quantized(strip, kind)
        copies = _copies(shape.rows * data.shape[1])
        matrices = [ggml.Matrix(data, kind, shape.rows, shape.cols) for _ in range(copies)]
        found[name] = ggml.Products(matrices, inputs)
        ggml.check(found[name].calls()[0](), data, kind, inputs)
    return found


def _row(
    shape: Shape,
    case: Case,
    packed_ms: float,
    size_bytes: int,
    ms: Mapping[str, float],
    device: torch.device,
) -> dict[str, Any]:
    bandwidth, reached = STREAM_BYTES / ms["read"] / 1e6, size_bytes / packed_ms / 1e6
    others = {name: ms.get(name, nan) for name in (*DENSE, *ggml.TYPES)}
    rows, cols = case.slab.shape
    return {
        "source": case.source,
        "embedding_dim": shape.embedding_dim,
        "matrix": shape.matrix,
        "asked_bits": case.asked_bits,
        "rows": shape.rows,
        "cols": shape.cols,
        "bits_depth": case.slab.code_bits() / (rows * cols),
        "packed_bytes": size_bytes,
        "packed_ms": packed_ms,
        **{f"{name}_ms": other for name, other in others.items()},
        **{f"speedup_{name}": other / packed_ms for name, other in others.items()},
        "packed_gb_per_s": reached,
        "read_gb_per_s": bandwidth,
        "bandwidth_share": reached / bandwidth,
        "device": name_of(device),
        "capability": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "xllamacpp": ggml.installed(),
    }


def _copies(size_bytes: int) -> int:
    return -(-COPIES_BYTES // size_bytes)


def _tall(strip: Tensor, rows: int) -> Tensor:
    """Return a matrix of `rows` rows, in its own memory."""
    return strip.repeat(rows // len(strip), 1)


def _in_turn(function: Any, inputs: Tensor, weights: Sequence[Any]) -> Iterator[Tensor]:
    """Return an endless iterator over the products with each weight in turn."""
    return (function(inputs, weight) for weight in cycle(weights))


def _medians(calls: Mapping[str, Iterator[Tensor]], rounds: int) -> dict[str, float]:
    """Return the median seconds per call; the functions take turns."""
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
