"""The compiled kernel for processors, built on first use, kept in torch's cache of extensions.

The instruction set (AVX-512, AVX2, or whatever the compiler takes for granted) is the one that
torch finds in the processor, or is told by ATEN_CPU_CAPABILITY. A build is named after all that it
rests on, so that machines may share a cache; TORCH_EXTENSIONS_DIR moves it.
"""

import importlib.util
import os
import sysconfig
import warnings
from functools import cache
from hashlib import sha256
from pathlib import Path
from types import ModuleType
from typing import Any
from weakref import WeakKeyDictionary

import torch

from radio.kernels.layout import PackedMatrix
from radio.runtime.files import atomic

SOURCES = sorted((Path(__file__).parent / "csrc").iterdir())
FLAGS = {
    "AVX512": ["-mavx512f", "-mavx512dq", "-mavx512bw", "-mavx512vl", "-mfma", "-mf16c"],
    "AVX2": ["-mavx2", "-mfma", "-mf16c"],
}
# not linked: threads are those of the OpenMP that torch has loaded
COMMON_FLAGS = ["-O3", "-fopenmp"]

_handles: WeakKeyDictionary[PackedMatrix, Any] = WeakKeyDictionary()


def handle(matrix: PackedMatrix) -> Any:
    """The compiled kernel's view of a matrix, or None where it could not be built.

    It has `product(x [vectors, cols], bias or None)`, which gives [vectors, rows] in the type of x,
    summed in float32; `product_of_decoded`, the same by way of weights rounded to bfloat16 where x
    is; and `decode(cluster, dtype)`, which is `PackedMatrix.decode_cluster` in float32 or bfloat16.
    """
    found = _handles.get(matrix)
    if found is None:
        module = compiled(torch.backends.cpu.get_cpu_capability())
        if module is not None:
            found = _handles[matrix] = module.Packed(matrix.rows, *matrix.tensors())
    return found


@cache
def compiled(capability: str) -> ModuleType | None:
    """The kernel for an instruction set; None, with one warning, if it cannot be built."""
    try:
        return _load(capability)
    except (OSError, RuntimeError, ImportError) as error:
        reason = str(error).strip().splitlines()[:1]
        warnings.warn(
            f"the kernel for packed matrices was not built ({' '.join(reason)}): products decode "
            "the weights first, which is slow; install a C++ compiler and ninja",
            stacklevel=2,
        )
        return None


def _load(capability: str) -> ModuleType:
    """Import the build out of the cache, into which it is put first if need be."""
    from torch.utils import cpp_extension

    flags = [*COMMON_FLAGS, *FLAGS.get(capability, [])]
    parts = [torch.__version__, sysconfig.get_config_var("SOABI"), *flags]
    digest = sha256(repr(parts).encode() + b"".join(path.read_bytes() for path in SOURCES))
    name = f"radio_kernels_{capability.lower()}_{digest.hexdigest()[:12]}"
    folder = os.environ.get("TORCH_EXTENSIONS_DIR") or cpp_extension.get_default_build_root()
    path = Path(folder) / f"{name}.so"
    if not path.exists():
        with atomic(path) as scratch:
            cpp_extension.load(
                name,
                [str(source) for source in SOURCES if source.suffix == ".cpp"],
                extra_cflags=flags,
                build_directory=str(scratch.parent),
            )
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
