"""Values outside the range of float16: stored in a wider type, or coded with a power of two.

float16 has its full 11 bits from 6.1e-5 to 65504. It *holds* a tensor if no value overflows and the
largest magnitude is at least 6.1e-5: the error of every value is then at most 2^-11 of the largest
magnitude. Small values next to large ones may round to 0 under this rule. float16 holds all
ordinary tensors.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor

# the smallest number that float16 represents with full precision
LEAST = torch.finfo(torch.float16).smallest_normal
# exponents for which a scale times a code times a power of two is finite in float32
EXPONENTS = (-126, 100)


def stored(values: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Return finite values in float16 if it holds them, else in bfloat16 if exact, else in float32.

    Tensors on the meta device, which have no values, become float16.
    """
    half = values.half()
    if values.is_meta or not values.numel():
        return half
    largest = _largest(values)
    if largest == 0 or (largest >= LEAST and _largest(half) < math.inf):
        return half
    narrow = values.bfloat16()
    return narrow if torch.equal(narrow.to(values.dtype), values) else values.float()


def normalized(
    weight: Float[Tensor, "rows cols"], least: float, most: float
) -> tuple[Float[Tensor, "rows cols"], int]:
    """Return a layer's weights divided by 2^e, and e, so that float16 holds their scales.

    Args:
        weight: float32.
        least: lower bound of the largest magnitude for which no division is needed.
        most: upper bound.

    Returns:
        The same weights and 0 if the largest magnitude is in [least, most], or is 0. A larger
        magnitude is reduced just to `most`, which keeps small weights as large as possible; a
        smaller one becomes about 1.
    """
    largest = _largest(weight)
    if not weight.numel() or largest == 0 or least <= largest <= most:
        return weight, 0
    exponent = math.frexp(largest / most if largest > most else largest)[1]
    exponent = max(EXPONENTS[0], exponent)
    return scaled(weight, -exponent), exponent


def scaled(weight: Float[Tensor, "rows cols"], exponent: int) -> Float[Tensor, "rows cols"]:
    """Return weights times 2^exponent."""
    return weight * 2.0**exponent if exponent else weight


def _largest(values: Tensor) -> float:
    """Return the largest magnitude; 0 if there are no values."""
    if not values.numel():
        return 0.0
    low, high = values.aminmax()
    return max(-float(low), float(high))
