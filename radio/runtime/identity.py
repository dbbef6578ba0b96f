"""Whose is a half-made state? A hash of all that decides it."""

from collections.abc import Mapping
from hashlib import sha256

from torch import Tensor


def identity_of(*parts: object) -> str:
    """Hash of settings and tensors: a partial state belongs to one calibration only."""
    digest = sha256()
    for part in parts:
        if isinstance(part, Mapping):
            # on the CPU, whose sums are the same wherever the tensors are
            part = [(name, float(tensor.cpu().double().sum())) for name, tensor in part.items()]
        digest.update(repr(part.tolist() if isinstance(part, Tensor) else part).encode())
    return digest.hexdigest()
