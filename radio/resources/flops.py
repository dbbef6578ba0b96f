"""Floating-point operations of calibration, from a model's geometry."""

from radio.resources.model_shape import Geometry


def calibration_flops(
    geometry: Geometry, sequences: int, length: int, *, distortion_measure: str, recomputed: bool
) -> int:
    """Floating-point operations of one backward pass a sequence.

    A product takes two operations a weight and token: forward, backward to its inputs, backward to
    its weights, and forward again where it is recomputed. The head's weights need no gradient.
    Attention's two products of tokens with tokens take five backward.
    """
    passes = 4 if recomputed else 3
    attention_width = geometry.linears[0][0]
    products = 2.5 + (2 if recomputed else 1)
    attention = 4 * geometry.blocks * length * attention_width * products
    head = 4 * geometry.head_parameters if distortion_measure == "kl" else 0
    return int(sequences * length * (2 * passes * geometry.weights + head + attention))
