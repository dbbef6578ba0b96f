"""Packed matrices with one random damage; run as a script, it multiplies them and counts refusals.

A script, so that a crash of native code is an exit status: `python -m tests.faults.damaged_matrices
COUNT SEED`.
"""

import sys
from collections import Counter
from dataclasses import replace

import torch

from radio.kernels.checks import check
from radio.kernels.cpu import kernel
from radio.kernels.dispatch import product_of_decoded
from radio.kernels.layout import PackedMatrix, packed_matrix
from radio.runtime.errors import RadioError
from tests.kernels.coded import coded

EXTREMES = [-(2**63), -(2**31), -129, -1, 0, 1, 2, 7, 15, 16, 17, 33, 2**15, 2**31 - 1, 2**63 - 1]
HALVES = [torch.nan, torch.inf, -torch.inf, 65504.0, -0.0, 6e-8]


def sample_sequences(generator: torch.Generator, limit: int) -> int:
    return int(torch.randint(limit, (1,), generator=generator))


def written(tensor: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Return a copy with entries replaced: by extremes, small steps, or other entries."""
    out = tensor.clone()
    flat = out.view(-1)
    for _ in range(1 + sample_sequences(generator, 3) if len(flat) else 0):
        at = sample_sequences(generator, len(flat))
        if tensor.is_floating_point():
            flat[at] = HALVES[sample_sequences(generator, len(HALVES))]
        elif sample_sequences(generator, 2):
            limits = torch.iinfo(tensor.dtype)
            value = EXTREMES[sample_sequences(generator, len(EXTREMES))]
            flat[at] = min(max(value, limits.min), limits.max)
        elif sample_sequences(generator, 2):
            flat[at] = flat[sample_sequences(generator, len(flat))]
        else:
            flat[at] += 1 - 2 * sample_sequences(generator, 2)
    return out


def reshaped(tensor: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Return a copy of another size, dimension, type or memory order."""
    changes = [
        lambda t: t[:-1],
        lambda t: t[:0],
        lambda t: torch.cat([t, t[-1:]]),
        lambda t: t[..., :-1],
        lambda t: t.flatten(),
        lambda t: t[None],
        lambda t: t.long() if t.dtype != torch.int64 else t.int(),
        lambda t: t.double(),
        lambda t: torch.stack([t, t], dim=-1)[..., 0],
        lambda t: t.to("meta"),
    ]
    return changes[sample_sequences(generator, len(changes))](tensor)


def damaged(matrix: PackedMatrix, generator: torch.Generator) -> PackedMatrix:
    """Return a copy with one field damaged."""
    names = ["rows", *matrix.named_tensors()]
    name = names[sample_sequences(generator, len(names))]
    if name == "rows":
        return replace(matrix, rows=EXTREMES[sample_sequences(generator, len(EXTREMES))])
    change = reshaped if sample_sequences(generator, 4) == 0 else written
    return replace(matrix, **{name: change(getattr(matrix, name), generator)})


def answers(matrix: PackedMatrix, inputs: torch.Tensor) -> list[torch.Tensor | None]:
    """Return products by each way, None where the matrix is refused."""
    compiled = kernel()
    assert compiled is not None
    of = (matrix.rows, matrix.tensors())
    ways = [
        lambda: compiled.product(inputs, None, *of),
        lambda: compiled.product_of_decoded(inputs, None, *of),
        lambda: (check(matrix), product_of_decoded(inputs, matrix, None))[1],
    ]
    found: list[torch.Tensor | None] = []
    for way in ways:
        try:
            found.append(way())
        except RadioError:
            found.append(None)
    return found


def main(count: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    outcomes: Counter[str] = Counter()
    for _ in range(count):
        rows, cols = 1 + sample_sequences(generator, 50), 1 + sample_sequences(generator, 70)
        sound = packed_matrix(
            coded(
                rows, cols, 1 + sample_sequences(generator, 3), sample_sequences(generator, 10**6)
            )
        )
        matrix, inputs = damaged(sound, generator), torch.randn(3, cols)
        first, *others = answers(matrix, inputs)
        for other in others:
            assert (first is None) == (other is None), "the ways disagree on a refusal"
            if first is not None and other is not None:
                torch.testing.assert_close(first, other, rtol=1e-3, atol=1e-3, equal_nan=True)
        outcomes["refused" if first is None else "multiplied"] += 1
    print(dict(outcomes))


if __name__ == "__main__":
    torch.set_num_threads(1)
    # memory that nobody wrote is NaN, so that it is seen
    torch.use_deterministic_algorithms(True)
    main(int(sys.argv[1]), int(sys.argv[2]))
