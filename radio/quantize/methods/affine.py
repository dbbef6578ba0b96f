"""Common base of RTN, GPTQ and OWQ: a single depth, affine grids along the inputs."""

from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from jaxtyping import Float
from torch import Tensor

from radio.pack.codecs import affine_bytes
from radio.pack.floats import LEAST, normalized
from radio.runtime.check import check_fields
from radio.runtime.errors import RadioError
from radio.runtime.kinds import Count
from radio.theory.affine_grid import Grid, clipped_grid, min_max_grid
from radio.theory.allocation import MAX_BITS


@dataclass(frozen=True)
class AffineMethod:
    """A method with one scale and zero point per row, or per run of inputs of a row.

    Attributes:
        group_cols: inputs that share a scale; None for a whole row. The last run of a row may be
            shorter.
        symmetric: fix the zero point at the middle of the codes, and do not store it.
        clip: choose each range by least squared error of the weights, not by their extremes.
    """

    group_cols: Count | None = None
    symmetric: bool = False
    clip: bool = False

    def __post_init__(self) -> None:
        check_fields(self, "method.quantizer")

    def check_rate(self, rate_bits: float) -> None:
        """Raise a `RadioError` unless `rate_bits` is one of 1..8."""
        check_depth(rate_bits, type(self).__name__.lower())

    def normalized(
        self, weight: Float[Tensor, "rows cols"], bits: int
    ) -> tuple[Float[Tensor, "rows cols"], int]:
        """Return weights divided by 2^e, and e; e is 0 if the scales fit float16."""
        # a row's scale is from 1 / (2^bits - 1) to 2 times its largest weight
        return normalized(weight, LEAST * (2**bits - 1), 2.0**14)

    def grid(self, run: Float[Tensor, "rows cols"], bits: int) -> Grid:
        """Return the grid of each row of a run."""
        fit = clipped_grid if self.clip else min_max_grid
        return fit(run, bits, symmetric=self.symmetric)

    def solve_for_bits(
        self, bpw: float, shapes: Sequence[tuple[int, int]]
    ) -> tuple["AffineMethod", float]:
        """Return this method at the largest depth, with the smallest groups that then fit `bpw`.

        The present value of `group_cols` is ignored.

        Raises:
            RadioError: depths from 1 to 8 cannot reach the target.
        """
        layers, weights = Counter(shapes), sum(rows * cols for rows, cols in shapes)
        whole = max(cols for _, cols in shapes)

        def rate(bits: int, group_cols: int) -> float:
            size = sum(
                count * affine_bytes(*shape, bits, group_cols, self.symmetric)
                for shape, count in layers.items()
            )
            return 8 * size / weights

        check_reach(bpw, rate(1, whole), rate(MAX_BITS, 1))
        bits = max(b for b in range(1, MAX_BITS + 1) if rate(b, whole) <= bpw)
        sizes = range(1, whole + 1)
        fits = bisect_left(sizes, True, key=lambda group_cols: rate(bits, group_cols) <= bpw)
        return replace(self, group_cols=sizes[fits]), float(bits)


def check_depth(rate_bits: float, method: str) -> None:
    """Raise a `RadioError` unless `rate_bits` is one of the depths 1..8."""
    if rate_bits not in range(1, MAX_BITS + 1):
        raise RadioError(
            f"rate_bits={rate_bits} does not suit {method}, whose depth is the same everywhere: "
            f"set an integer from 1 to {MAX_BITS}"
        )


def check_reach(bpw: float, low: float, high: float) -> None:
    """Raise a `RadioError` unless the true rate `bpw` is within [low, high]."""
    if not low <= bpw <= high:
        raise RadioError(
            f"target.bpw={bpw:g} is out of reach: this model and method reach "
            f"{low:.3f} to {high:.3f} bits per weight; set a target in between"
        )
