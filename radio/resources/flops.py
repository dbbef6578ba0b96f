"""Floating-point operations of calibration from a model's shape."""

from radio.resources.model_shape import Geometry


def calibration_flops(
    geometry: Geometry, sequences: int, length: int, *, distortion_measure: str, recomputed: bool
) -> int:
    """Return the floating-point operations of one backward pass per sequence.

    A product takes two operations per weight and token, for each of: the forward pass, the gradient
    of its inputs, the gradient of its weights, and a second forward pass if recomputed. The head's
    weights need no gradient. Attention's two token-by-token products become five in the backward
    pass.
    """
    passes = 4 if recomputed else 3
    attention_width = geometry.linears[0][0]
    products = 2.5 + (2 if recomputed else 1)
    attention = 4 * geometry.blocks * length * attention_width * products
    head = 4 * geometry.head_parameters if distortion_measure == "kl" else 0
    return int(sequences * length * (2 * passes * geometry.weights + head + attention))
