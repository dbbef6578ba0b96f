"""The compiled kernel's arithmetic under the address and undefined behaviour sanitizers of GCC."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
import torch
from torch.utils.cpp_extension import include_paths

from radio.kernels import cpu

DRIVER = Path(__file__).with_name("sanitized_products.cpp")
HERE = torch.backends.cpu.get_cpu_capability()
CAPABILITIES = {"AVX512": ["AVX512", "AVX2", "DEFAULT"], "AVX2": ["AVX2", "DEFAULT"]}
SANITIZERS = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
MATRICES = 60
DAMAGED = 10 * MATRICES


@pytest.mark.parametrize("capability", CAPABILITIES.get(HERE, ["DEFAULT"]))
def test_no_access_out_of_bounds_and_no_undefined_behaviour(tmp_path, capability):
    """Products and decodes of odd shapes, by several threads' shares, and of damaged matrices."""
    compiler = os.environ.get("CXX") or shutil.which("g++") or "c++"
    headers = [*include_paths(), str(cpu.SOURCES[0].parent)]
    build = [compiler, "-std=c++20", "-O0", "-g1", *SANITIZERS, *cpu.FLAGS.get(capability, [])]
    build += [*(f"-I{path}" for path in headers), str(DRIVER), "-o", str(tmp_path / "driver")]
    subprocess.run(build, check=True)
    command = [str(tmp_path / "driver"), str(MATRICES), "0"]
    answer = subprocess.run(command, capture_output=True, text=True)
    assert answer.returncode == 0, answer.stderr
    counts = json.loads(answer.stdout)
    assert sum(counts.values()) == DAMAGED and counts["refused"] > counts["multiplied"] > 0
