"""Codecs: a codec holds a matrix's codes and side information, and decodes them.

A quantization method chooses a codec; code that reads a codec does not depend on the method.
"""

from radio.pack.codecs.affine import Affine, affine_bytes
from radio.pack.codecs.base import Codec
from radio.pack.codecs.companded import Companded
from radio.pack.codecs.dense import Dense
from radio.pack.codecs.kept import KeptColumns, kept_bytes, other_columns
from radio.pack.codecs.linear import QuantizedLinear

CODECS: dict[str, type[Codec]] = {
    codec.name: codec for codec in (Dense, Affine, Companded, KeptColumns)
}

__all__ = [
    "CODECS",
    "Affine",
    "Codec",
    "Companded",
    "Dense",
    "KeptColumns",
    "QuantizedLinear",
    "affine_bytes",
    "kept_bytes",
    "other_columns",
]
