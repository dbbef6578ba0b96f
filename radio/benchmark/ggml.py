"""Products of ggml, llama.cpp's library, for comparison; needs the optional wheel `xllamacpp`.

Weights are laid out as in a GGUF file. ggml rounds the vector to 8 bits if weights are quantized,
and to float16 if weights are float16.
"""

import ctypes
import logging
from collections.abc import Callable
from functools import cache, partial
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType, dequantize
from jaxtyping import Float
from torch import Tensor

from radio.runtime.errors import RadioError

log = logging.getLogger(__name__)

TYPES = {
    "ggml_f16": GGMLQuantizationType.F16,
    "ggml_q3_k": GGMLQuantizationType.Q3_K,
    "ggml_q4_k": GGMLQuantizationType.Q4_K,
    "ggml_q4_0": GGMLQuantizationType.Q4_0,
}
# relative to a product's norm; rounding a normal vector to 8 bits costs 0.7%
TOLERANCE = 0.02
# bytes for a graph of one product and for its tensors' headers; weights have their own memory
CONTEXT_BYTES = 1 << 20
# alignment in bytes that ggml requires of a matrix
ALIGNMENT = 64


class _Context(ctypes.Structure):
    """`struct ggml_init_params`."""

    _fields_ = (
        ("mem_size", ctypes.c_size_t),
        ("mem_buffer", ctypes.c_void_p),
        ("no_alloc", ctypes.c_bool),
    )


# types of the result and of the arguments, by function
_SIGNATURES: dict[str, tuple[Any, list[Any]]] = {
    "ggml_init": (ctypes.c_void_p, [_Context]),
    "ggml_free": (None, [ctypes.c_void_p]),
    "ggml_new_tensor_2d": (
        ctypes.c_void_p,
        [ctypes.c_void_p, ctypes.c_int, ctypes.c_int64, ctypes.c_int64],
    ),
    "ggml_mul_mat": (ctypes.c_void_p, [ctypes.c_void_p] * 3),
    "ggml_new_graph": (ctypes.c_void_p, [ctypes.c_void_p]),
    "ggml_build_forward_expand": (None, [ctypes.c_void_p] * 2),
    "ggml_get_data": (ctypes.c_void_p, [ctypes.c_void_p]),
    "ggml_quantize_chunk": (
        ctypes.c_size_t,
        [ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, *[ctypes.c_int64] * 3, ctypes.c_void_p],
    ),
    "ggml_backend_cpu_init": (ctypes.c_void_p, []),
    "ggml_backend_cpu_set_n_threads": (None, [ctypes.c_void_p, ctypes.c_int]),
    "ggml_backend_cpu_buffer_from_ptr": (ctypes.c_void_p, [ctypes.c_void_p, ctypes.c_size_t]),
    "ggml_backend_tensor_alloc": (ctypes.c_int, [ctypes.c_void_p] * 3),
    "ggml_backend_graph_compute": (ctypes.c_int, [ctypes.c_void_p] * 2),
    "ggml_backend_buffer_free": (None, [ctypes.c_void_p]),
    "ggml_backend_free": (None, [ctypes.c_void_p]),
}


@cache
def installed() -> str | None:
    """Return the wheel's version; None, with one log line on how to install it, if missing."""
    if find_spec("xllamacpp") is None:
        log.info("ggml is not timed: pip install 'xllamacpp' (radio's extra `ggml`) to have it")
        return None
    return version("xllamacpp")


@cache
def _library() -> ctypes.CDLL:
    spec = find_spec("xllamacpp")
    assert spec is not None and spec.origin is not None
    library = ctypes.CDLL(str(next(Path(spec.origin).parent.glob("xllamacpp*.so"))))
    for name, (result, arguments) in _SIGNATURES.items():
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library


def quantized(weight: Float[Tensor, "rows cols"], kind: GGMLQuantizationType) -> Tensor:
    """Return the bytes [rows, row_bytes] of a matrix.

    Raises:
        RadioError: the columns are not whole blocks of the type, or ggml wrote an unexpected size.
    """
    rows, cols = weight.shape
    out = torch.empty(rows, _row_bytes(cols, kind), dtype=torch.uint8)
    source = weight.float().contiguous()
    written = _library().ggml_quantize_chunk(
        kind, source.data_ptr(), out.data_ptr(), 0, rows, cols, None
    )
    _require(written == out.nbytes, f"ggml wrote {written} bytes, {out.nbytes} are expected")
    return out


def _row_bytes(cols: int, kind: GGMLQuantizationType) -> int:
    block, block_bytes = GGML_QUANT_SIZES[kind]
    _require(cols > 0 and fits(cols, kind), f"{cols} columns are not whole blocks of {block}")
    return cols // block * block_bytes


def _require(valid: bool, problem: str) -> None:
    """Raise unless `valid`, before C code would access memory out of bounds."""
    if not valid:
        raise RadioError(f"{problem}: run without xllamacpp, and report this")


def fits(cols: int, kind: GGMLQuantizationType) -> bool:
    """Return whether rows of `cols` columns are whole blocks of a type."""
    return cols % GGML_QUANT_SIZES[kind][0] == 0


class Matrix:
    """A matrix of ggml: a repeated strip of rows, in its own memory."""

    def __init__(self, strip: Tensor, kind: GGMLQuantizationType, rows: int, cols: int) -> None:
        """Repeat the bytes of `strip` [some, row_bytes]; `rows` is a multiple of `some`.

        Raises:
            RadioError: the strip's size does not fit.
        """
        whole = len(strip) > 0 and rows > 0 and rows % len(strip) == 0
        sized = strip.dtype == torch.uint8 and strip.shape[1:] == (_row_bytes(cols, kind),)
        _require(whole and sized, f"{list(strip.shape)} bytes make no matrix of {rows} x {cols}")
        self.kind, self.rows, self.cols = kind, rows, cols
        data = strip.repeat(rows // len(strip), 1)
        spare = torch.empty(data.numel() + ALIGNMENT, dtype=torch.uint8)
        start = -spare.data_ptr() % ALIGNMENT
        self.data = spare[start : start + data.numel()]
        self.data.copy_(data.flatten())


class Products:
    """Products of matrices of one shape and type with one vector, with torch's thread count."""

    def __init__(self, matrices: list[Matrix], inputs: Float[Tensor, " cols"]) -> None:
        """Build a graph of one product for each matrix.

        Raises:
            RadioError: shapes differ, or ggml has no memory.
        """
        library, first = _library(), matrices[0]
        alike = all(
            (m.rows, m.cols, m.kind) == (first.rows, first.cols, first.kind) for m in matrices
        )
        _require(alike, "matrices of several shapes or types have no common product")
        fit = inputs.dtype == torch.float32 and inputs.shape == (first.cols,)
        _require(fit, f"inputs {list(inputs.shape)} do not fit {first.cols} columns in float32")
        self._kept = matrices
        self._inputs = _aligned(inputs)
        self._outputs = _aligned(torch.empty(first.rows))
        self._backend = library.ggml_backend_cpu_init()
        library.ggml_backend_cpu_set_n_threads(self._backend, torch.get_num_threads())
        self._contexts: list[int] = []
        self._buffers: list[int] = []
        self._graphs = [self._graph(matrix) for matrix in matrices]

    def _graph(self, matrix: Matrix) -> int:
        library = _library()
        context = library.ggml_init(_Context(CONTEXT_BYTES, None, True))
        _require(bool(context), "ggml has no memory for a graph")
        weight = library.ggml_new_tensor_2d(context, matrix.kind, matrix.cols, matrix.rows)
        vector = library.ggml_new_tensor_2d(context, GGMLQuantizationType.F32, matrix.cols, 1)
        product = library.ggml_mul_mat(context, weight, vector)
        tensors = ((weight, matrix.data), (vector, self._inputs), (product, self._outputs))
        for tensor, memory in tensors:
            size_bytes = memory.numel() * memory.element_size()
            buffer = library.ggml_backend_cpu_buffer_from_ptr(memory.data_ptr(), size_bytes)
            library.ggml_backend_tensor_alloc(buffer, tensor, memory.data_ptr())
            self._buffers.append(buffer)
        graph: int = library.ggml_new_graph(context)
        library.ggml_build_forward_expand(graph, product)
        self._contexts.append(context)
        return graph

    def calls(self) -> list[Callable[[], Tensor]]:
        """Return a function per matrix that returns its product; the next call overwrites it."""
        return [partial(self._compute, graph) for graph in self._graphs]

    def _compute(self, graph: int) -> Tensor:
        if _library().ggml_backend_graph_compute(self._backend, graph):
            raise RadioError("ggml could not compute a product: run without xllamacpp")
        return self._outputs

    def close(self) -> None:
        """Free ggml's resources."""
        library = _library()
        for buffer in self._buffers:
            library.ggml_backend_buffer_free(buffer)
        for context in self._contexts:
            library.ggml_free(context)
        library.ggml_backend_free(self._backend)


def check(outputs: Tensor, strip: Tensor, kind: GGMLQuantizationType, inputs: Tensor) -> None:
    """Compare a product with that of the weights that the package `gguf` decodes.

    Raises:
        RadioError: the error is larger than the vector's rounding explains.
    """
    weight = torch.from_numpy(dequantize(np.asarray(strip), kind)).double()
    expected = (weight @ inputs.double()).repeat(len(outputs) // len(strip))
    error = float((outputs.double() - expected).norm() / expected.norm())
    if not error < TOLERANCE:  # also true for NaN
        raise RadioError(
            f"ggml's product in {kind.name} is wrong by {error:.1e}, so it is not timed: "
            "install another version of xllamacpp, or none"
        )


def _aligned(values: Tensor) -> Tensor:
    """Return a float32 copy at an address that ggml accepts."""
    spare = torch.empty(values.numel() + ALIGNMENT // 4)
    start = -spare.data_ptr() % ALIGNMENT // 4
    aligned = spare[start : start + values.numel()]
    return aligned.copy_(values)
