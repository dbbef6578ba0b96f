"""Decode a packed model to a plain checkpoint, for tools that do not support radio.

usage: radio export DIR out=DENSE [dtype=float16|bfloat16|float32]
"""

from collections.abc import Sequence
from pathlib import Path

from radio.commands.words import pairs
from radio.pack.hf.directory import write_dense
from radio.pack.hf.integrity import MANIFEST
from radio.runtime.dtypes import parse_dtype
from radio.runtime.errors import RadioError
from radio.runtime.outputs import check_directory


def run(words: Sequence[str]) -> None:
    """Write the checkpoint of the packed directory `words[0]` to `out`, in float16 or `dtype`.

    Raises:
        RadioError: bad input.
    """
    if not words or "=" in words[0]:
        raise RadioError("export is not given a packed model: write radio export DIR out=DENSE")
    given = pairs(words[1:])
    dtype = parse_dtype("dtype", given.pop("dtype", "float16"))
    if set(given) != {"out"}:
        raise RadioError(f"export takes out=DENSE and dtype, and is given {sorted(given)}")
    packed = Path(words[0]).expanduser()
    write_dense(check_directory("export", given["out"], MANIFEST, [packed]), packed, dtype)
