"""Sizes of files from a model's shape: checkpoint, statistics, quantized model."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from radio.calibrate.statistics import LayerStatistics
from radio.pack.codecs import affine_bytes, kept_bytes
from radio.pack.file import QuantizedModel
from radio.quantize.methods.affine import AffineMethod
from radio.quantize.methods.awq import Awq
from radio.quantize.methods.base import BitsSolvableMethod, Method, MixedDepthMethod
from radio.quantize.methods.fp16 import Fp16
from radio.quantize.methods.owq import Owq
from radio.rate import Target
from radio.resources.model_shape import Geometry
from radio.runtime.errors import RadioError
from radio.targets.bytes import depth_left
from radio.theory.allocation import MAX_BITS
from radio.theory.codebook import uniform
from radio.theory.grouping import cluster_count

HALF_BYTES, FLOAT32_BYTES, INT64_BYTES = 2, 4, 8


@dataclass(frozen=True)
class Stored:
    """A quantized model's true rate, in bits per weight, and the bytes of its file."""

    bpw: float
    file_bytes: int


def checkpoint_bytes(geometry: Geometry) -> int:
    """Return the bytes of the weights as published."""
    return geometry.parameters * geometry.dtype_bytes


def statistics_bytes(geometry: Geometry, group_rows: int) -> int:
    """Return the file size of gradient and weight variances, row clusters and input means."""
    per_block = sum(INT64_BYTES * rows + FLOAT32_BYTES * cols for rows, cols in geometry.linears)
    return 2 * FLOAT32_BYTES * geometry.groups(group_rows) + geometry.blocks * per_block


def stored(geometry: Geometry, method: Method, rate: float | Target, group_rows: int) -> Stored:
    """Return rate and size of the file that `method` makes at a mean depth or target.

    Raises:
        RadioError: a target that needs measurements, that the method does not support, or that no
            depths reach.
    """
    weights = geometry.weights
    rest = HALF_BYTES * (geometry.parameters - weights)
    if isinstance(rate, Target) and rate.kind not in ("bpw", "size"):
        raise RadioError(
            f"target.{rate} is met by measuring: plan with rate_bits, target.bpw or target.size"
        )
    if isinstance(method, MixedDepthMethod):
        bits = _side_bits(geometry, method, group_rows)
        if not isinstance(rate, Target):
            bits += rate
        elif rate.kind == "size":
            bits += depth_left(rate, bits + 8 * rest / weights, 8 / weights)
        else:
            bits += depth_left(rate, bits, 1.0)
    else:
        shapes = list(geometry.linears)
        if isinstance(rate, Target):
            if rate.kind != "bpw" or not isinstance(method, BitsSolvableMethod):
                raise RadioError(
                    f"target.{rate} does not suit a method without allocated depths: set rate_bits "
                    "(or target.bpw for one that can be matched)"
                )
            method, depth = method.solve_for_bits(rate.amount, shapes)
        else:
            depth = rate
        bits = 8 * _uniform_bytes(method, int(depth), shapes) * geometry.blocks / weights
    return Stored(bits, int(bits * weights / 8) + rest)


def _side_bits(geometry: Geometry, method: MixedDepthMethod, group_rows: int) -> float:
    """Return the bits per weight that a method with allocated depths stores if all depths are 0."""
    # as many levels as any learned codebook
    books = tuple(uniform(bits).levels for bits in range(MAX_BITS + 1))
    layers = {}
    for index, (rows, cols) in enumerate(geometry.linears):
        number = torch.zeros(1)
        groups = number.expand(cluster_count(rows, group_rows), cols)
        cluster = torch.arange(rows) % len(groups)
        statistics = LayerStatistics(cluster, groups, groups, number.expand(cols))
        layers[str(index)] = method.empty_layer(rows, statistics, books, geometry.has_biases)
    return QuantizedModel(layers, {}).bpw()


def _uniform_bytes(method: Method, bits: int, shapes: Sequence[tuple[int, int]]) -> int:
    """Return the bytes of one block's layers under a method with one depth for all weights."""
    match method:
        case Fp16():
            return sum(HALF_BYTES * rows * cols for rows, cols in shapes)
        case Owq():
            kept = [method.kept_cols(rows, cols, bits) for rows, cols in shapes]
            return sum(
                kept_bytes(rows, cols, k, bits, method.group_cols or cols - k, method.symmetric)
                for (rows, cols), k in zip(shapes, kept, strict=True)
            )
        case AffineMethod() | Awq():
            symmetric = isinstance(method, AffineMethod) and method.symmetric
            return sum(
                affine_bytes(rows, cols, bits, method.group_cols or cols, symmetric)
                for rows, cols in shapes
            )
    raise RadioError(f"{type(method).__name__} does not say what it stores: plan another method")
