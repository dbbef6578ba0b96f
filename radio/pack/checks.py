"""Checks of a packed layer's fields and tensors, run once when the file is opened.

A check raises `ValueError` with a message that begins with the field: "bits=9 is outside 1..8".
`radio.pack.file` adds the file, the layer and the remedy. Side information is checked by value.
For code streams only the length is checked, since every code of b bits is valid.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

# dtypes of uncoded values: float16, or a wider type if float16 cannot represent them
FLOATS = (torch.float16, torch.bfloat16, torch.float32)


def check_names(what: str, names: object, required: set[str], optional: set[str]) -> None:
    """Raise unless all of `required` are present, and nothing else except `optional`."""
    there = set(names) if isinstance(names, Mapping | Sequence) else set()
    if missing := sorted(required - there):
        raise ValueError(f"{missing[0]} is missing from its {what}")
    if unknown := sorted(there - required - optional):
        raise ValueError(f"{unknown[0]} is not one of the {what} of its codec")


def check_integer(name: str, value: object, low: int, high: int) -> int:
    """Return `value` if it is an integer from `low` to `high`; raise otherwise."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise ValueError(f"{name}={value!r} is not an integer")
    if not low <= value <= high:
        raise ValueError(f"{name}={value} is outside {low}..{high}")
    return value


def check_shape(name: str, value: object) -> tuple[int, int]:
    """Return rows (at least 1) and columns (at least 0) from a list of two numbers."""
    if not isinstance(value, list | tuple) or len(value) != 2:
        raise ValueError(f"{name}={value!r} is not a list of rows and columns")
    rows = check_integer(f"{name}[0]", value[0], 1, 2**31 - 1)
    return rows, check_integer(f"{name}[1]", value[1], 0, 2**31 - 1)


def check_tensor(
    name: str, tensor: Tensor, dtypes: Sequence[torch.dtype], shape: tuple[int, ...]
) -> None:
    """Raise unless a tensor has one of `dtypes`, the given shape, and finite values."""
    if tensor.dtype not in dtypes:
        known = " or ".join(map(str, dtypes))
        raise ValueError(f"{name} is of type {tensor.dtype}, not {known}")
    if tuple(tensor.shape) != shape:
        raise ValueError(f"{name} has shape {list(tensor.shape)}, not {list(shape)}")
    if not is_finite(tensor):
        raise ValueError(f"{name} has a NaN or an infinity")


def check_bytes(name: str, tensor: Tensor, count: int) -> None:
    """Raise unless a tensor is a stream of `count` bytes."""
    check_tensor(name, tensor, [torch.uint8], (count,))


def is_finite(tensor: Tensor) -> bool:
    """Return whether all values are finite, in one pass without a copy."""
    # finite values of the stored dtypes cannot overflow a sum in float64
    return not tensor.is_floating_point() or bool(tensor.sum(dtype=torch.float64).isfinite())


def check_fields(fields: Mapping[str, Any], shape: tuple[int, int]) -> None:
    """Raise unless the shape in the codec's fields is the layer's shape."""
    if check_shape("shape", fields["shape"]) != shape:
        raise ValueError(f"shape={fields['shape']} is not the layer's, {list(shape)}")
