"""Error compensation: later columns correct the output error of rounding a column.

The output error of W_q for inputs of second moment H is tr((W_q - W) H (W_q - W)^T), and rows are
independent. Once column j is rounded, the remaining weights move to where that error is least: by
-(w_j - w_qj) / [H^-1]_jj times row j of the inverse of the *remaining* Hessian (optimal brain
quantization). These rows, divided by the square roots of their diagonals, are the rows of the upper
Cholesky factor U of H^-1 = U^T U, so nothing is updated but the weights (GPTQ, arXiv 2210.17323).
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

# columns whose effect on all later ones is applied by one product
BLOCK_COLS = 128


class BeforeRun(NamedTuple):
    """What is called before each run of `cols` turns, the last of which may be shorter.

    `see` is given the first turn's number and the run's weights [rows, cols], in the order of their
    turns, corrected for the errors of all columns that were rounded before.
    """

    cols: int
    see: Callable[[int, Tensor], None]


def inverse_factor(
    second_moment: Float[Tensor, "cols cols"],
    damping_frac: float = 0.01,
    order: Int[Tensor, " cols"] | None = None,
) -> Float[Tensor, "cols cols"]:
    """Upper triangular U with U^T U = (H + damping mean(diag H) I)^-1, as GPTQ uses it.

    Computed in float64 from one Cholesky factor of H, without its inverse: H = R R^T with R upper
    triangular, and U = R^-1. A dead input (H_jj <= 0, where a covariance rounds to that) is cut off
    from the others; any factor does for it. If rounding has left H indefinite beyond the damping,
    the damping grows to the next power of ten until the factor exists.

    Args:
        second_moment: H, or the covariance of the inputs; at least nearly positive semidefinite.
        damping_frac: added to the diagonal, in units of its mean.
        order: order of the columns of H in the factor (see `with_error_compensation`).

    Raises:
        ValueError: H is not finite, or far from positive semidefinite.
    """
    hessian = second_moment.double()
    if order is not None:
        hessian = hessian[order][:, order]
    alive = hessian.diagonal() > 0
    hessian = hessian * (alive[:, None] & alive)
    unit = float(hessian.diagonal().mean()) if alive.any() else 1.0
    added = unit * (~alive).to(hessian)
    for share in (damping_frac, *(10.0**k for k in range(-6, 1) if 10.0**k > damping_frac)):
        # H = R R^T is the ordinary factorization of H read backwards
        damped = hessian + torch.diag(added + share * unit)
        factor, failed = torch.linalg.cholesky_ex(damped.flip(0, 1))
        if not failed:
            eye = torch.eye(len(hessian), dtype=hessian.dtype, device=hessian.device)
            upper = torch.linalg.solve_triangular(factor.flip(0, 1), eye, upper=True)
            return upper.to(second_moment.dtype)
    raise ValueError("second_moment is not finite or not positive semidefinite")


def with_error_compensation(
    weight: Float[Tensor, "rows cols"],
    factor: Float[Tensor, "cols cols"],
    quantize_column: Callable[[int, Tensor], Tensor],
    order: Int[Tensor, " cols"] | None = None,
    before_run: BeforeRun | None = None,
) -> Float[Tensor, "rows cols"]:
    """Round columns one by one, each after the errors of those before it were fed back into it.

    Args:
        weight: W.
        factor: U of `inverse_factor`, for the same `order`.
        quantize_column: given a column's index in `weight` and its corrected weights [rows],
            returns them dequantized [rows]; it keeps the codes itself.
        order: columns in the order of their turns, for instance by descending diagonal of H;
            None for the order they stand in.
        before_run: what is to see the weights of several columns at once before they have turns.

    Returns:
        W_q, columns where they stood in `weight`.
    """
    columns = torch.arange(weight.shape[1]) if order is None else order
    # transposed, so that a column is contiguous; the copy is overwritten by its own corrections
    work = weight.T[columns]
    # row i of U over its diagonal: what the later columns lose for each unit of error in column i
    loss = (factor / factor.diagonal()[:, None]).to(weight.dtype)
    result = torch.empty_like(work)
    for start in range(0, len(work), BLOCK_COLS):
        stop = min(start + BLOCK_COLS, len(work))
        errors = torch.empty_like(work[start:stop])
        within = loss[start:stop, start:stop].T.contiguous()
        for i, j in enumerate(columns[start:stop].tolist()):
            column = work[start + i]
            if before_run and (start + i) % before_run.cols == 0:
                end = start + i + before_run.cols
                # columns of this block and of later ones lack the errors of this block alike
                lost = loss[start : start + i, start + i : end].T @ errors[:i]
                before_run.see(start + i, (work[start + i : end] - lost).T)
            if i:
                column.addmv_(errors[:i].T, within[i, :i], alpha=-1)
            dequantized = quantize_column(j, column)
            torch.sub(column, dequantized, out=errors[i])
            result[start + i] = dequantized
        work[stop:].addmm_(loss[start:stop, stop:].T, errors, alpha=-1)
    return _unpermuted(result, columns).T.contiguous()


def _unpermuted(rows: Tensor, order: Tensor) -> Tensor:
    """`rows` put back to where `order` took them from."""
    result = torch.empty_like(rows)
    result[order] = rows
    return result
