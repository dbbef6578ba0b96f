"""The compiled kernel for processors, built on first use, kept in torch's cache of extensions.

The instruction set (AVX-512, AVX2, or whatever the compiler takes for granted) is the one that
torch finds in the processor, or is given by ATEN_CPU_CAPABILITY. The name of a build is a digest of
all that it rests on, so that machines may share a cache; TORCH_EXTENSIONS_DIR moves it.
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
# not linked: threads are those of the OpenMP that torch has loaded
COMMON_FLAGS = ["-O3", "-fopenmp"]


def kernel() -> ModuleType | None:
    """Return the compiled kernel for this processor, or None where it could not be built.

    Its functions end with a matrix' rows and tensors (`PackedMatrix`), which are checked when they
    are new or were written to; a damaged matrix raises `RadioError`.

    - `product(x [vectors, cols], bias or None, rows, tensors)` returns [vectors, rows] in the type
      of x, summed in float32;
    - `product_of_decoded`, the same, decodes the weights first, to bfloat16 where x is;
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
