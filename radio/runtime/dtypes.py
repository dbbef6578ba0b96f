"""Types that models compute in, by their names in settings."""

import torch

from radio.runtime.errors import RadioError

FLOATING = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def parse_dtype(key: str, name: str) -> torch.dtype:
    """Return the type that the setting `key` names.

    Raises:
        RadioError: the name is unknown.
    """
    if name not in FLOATING:
        raise RadioError(f"{key}={name} is unknown: set {', '.join(FLOATING)}")
    return FLOATING[name]
