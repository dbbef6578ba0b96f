"""The compiled CPU kernel, built on first use and cached in torch's folder of extensions.

The instruction set (AVX-512, AVX2, or the compiler's default) is the one that torch detects, or is
set by ATEN_CPU_CAPABILITY. The name of a build contains a digest of everything that it depends on,
so machines may share a cache; TORCH_EXTENSIONS_DIR sets its path.
"""

import os
import platform
import sysconfig
import warnings
from functools import cache
from hashlib import sha256
from pathlib import Path
from types import ModuleType

import torch

from radio.kernels import library
from radio.runtime.errors import RadioError

SOURCES = sorted((Path(__file__).parent / "csrc").iterdir())
FLAGS = {
    "AVX512": ["-mavx512f", "-mavx512dq", "-mavx512bw", "-mavx512vl", "-mfma", "-mf16c"],
    "AVX2": ["-mavx2", "-mfma", "-mf16c"],
}
# OpenMP is not linked: the copy that torch has loaded provides the threads
COMMON_FLAGS = ["-O3", "-fopenmp"]


def kernel() -> ModuleType | None:
    """Return the compiled kernel for this CPU, or None if it could not be built.

    The last arguments of its functions are a matrix's rows and tensors (`PackedMatrix`). They are
    checked if they are new or were modified; a damaged matrix raises `RadioError`.

    - `product(x [vectors, cols], bias or None, rows, tensors)` returns [vectors, rows] in the dtype
      of x, summed in float32;
    - `product_of_decoded` does the same, but decodes the weights first: to bfloat16 if x is
      bfloat16, else to float32;
    - `decode(cluster, dtype, rows, tensors)` is `PackedMatrix.decode_cluster` in float32 or
      bfloat16.
    """
    return compiled(torch.backends.cpu.get_cpu_capability())


@cache
def compiled(capability: str) -> ModuleType | None:
    """Return the kernel for an instruction set; None, with one warning, if it cannot be built."""
    try:
        return _load(capability)
    except library.UntrustedFolderError as error:
        _warn(f"is not loaded, because {error}")
    except (OSError, RuntimeError, ImportError, RadioError) as error:
        reason = str(error).strip().splitlines()[:1]
        _warn(f"was not built ({' '.join(reason)}): install a C++ compiler and ninja")
    return None


def _warn(why: str) -> None:
    warnings.warn(
        f"the kernel for packed matrices {why}; until then, products decode the weights first, "
        "which is slow",
        stacklevel=4,
    )


def _load(capability: str) -> ModuleType:
    from torch.utils import cpp_extension

    flags = [*COMMON_FLAGS, *FLAGS.get(capability, [])]
    parts = [torch.__version__, sysconfig.get_config_var("SOABI"), *platform.libc_ver(), *flags]
    digest = sha256(repr(parts).encode() + b"".join(path.read_bytes() for path in SOURCES))
    name = f"radio_kernels_{capability.lower()}_{digest.hexdigest()[:12]}"
    folder = os.environ.get("TORCH_EXTENSIONS_DIR") or cpp_extension.get_default_build_root()
    sources = [source for source in SOURCES if source.suffix == ".cpp"]
    return library.load(Path(folder) / f"{name}.so", sources, flags)
