"""Values in rising order."""

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor


def in_order(values: Float[Tensor, "groups numel"]) -> Float[Tensor, "groups numel"]:
    """Each row's values in rising order, without their places.

    On a CPU numpy's vectorised sort takes a twentieth of the time of torch's, which sorts places
    too; where a row's values lie apart in memory it would take five times as long.
    """
    if values.device.type != "cpu":
        return values.sort(dim=1).values
    return torch.from_numpy(np.sort(values.contiguous().numpy(), axis=1))
