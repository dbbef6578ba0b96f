"""Block number and kind of matrix, from the name of a layer."""

import re

from radio.runtime.errors import RadioError

# model.layers.3.self_attn.q_proj: block 3, matrix q_proj
LAYER_NAME = re.compile(r"\.(?P<block>\d+)\.(?:.*\.)?(?P<matrix>[^.]+)$")


def block_and_matrix(name: str) -> tuple[int, str]:
    """Return the block number and the kind of matrix of a layer.

    >>> block_and_matrix("model.decoder.layers.10.fc1")
    (10, 'fc1')

    Raises:
        RadioError: the name has no block number.
    """
    match = LAYER_NAME.search(name)
    if not match:
        raise RadioError(f"the layer {name} has no block number: give layers like blocks.3.fc1")
    return int(match["block"]), match["matrix"]
