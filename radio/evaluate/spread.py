"""How far may a mean be off?"""

from jaxtyping import Float
from torch import Tensor


def standard_error(values: Float[Tensor, " count"]) -> float:
    """Standard error of the mean; 0 for a single value, which tells nothing of its spread."""
    return float(values.double().std() / len(values) ** 0.5) if len(values) > 1 else 0.0
