"""Error compensation: later columns correct the output error of rounding a column.

The output error of W_q for inputs of second moment H is tr((W_q - W) H (W_q - W)^T), and rows are
independent. After column j is rounded, the remaining weights change to minimise that error: by
-(w_j - w_qj) / [H^-1]_jj times row j of the inverse of the *remaining* Hessian (optimal brain
quantization). These rows, divided by the square roots of their diagonals, are the rows of the upper
Cholesky factor U of H^-1 = U^T U, so only the weights are updated (GPTQ, arXiv 2210.17323).
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

# columns whose effect on all later columns is applied by one matrix product
BLOCK_COLS = 128


class BeforeRun(NamedTuple):
    """Callback before each run of `cols` columns in processing order; the last may be shorter.

    `see` receives the position of the run's first column and the run's weights [rows, cols], both
    in processing order, corrected for the errors of all columns rounded so far.
    """

    cols: int
    see: Callable[[int, Tensor], None]


def inverse_factor(
    second_moment: Float[Tensor, "cols cols"],
    damping_frac: float = 0.01,
    order: Int[Tensor, " cols"] | None = None,
) -> Float[Tensor, "cols cols"]:
    """Return upper triangular U with U^T U = (H + damping mean(diag H) I)^-1, as in GPTQ.

    Computed in float64 from one Cholesky factor of H, without its inverse: H = R R^T with R upper
    triangular, and U = R^-1. A dead input (H_jj <= 0, possibly by rounding of a covariance) is
    decoupled from the others; any factor is valid for it. If rounding left H indefinite beyond the
    damping, the damping is raised to successive powers of ten until the factor exists.

    Args:
        second_moment: H, or the covariance of the inputs; at least nearly positive semidefinite.
        damping_frac: term added to the diagonal, in units of its mean.
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
        # H = R R^T is the ordinary Cholesky factorization of H with rows and columns reversed
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
    """Round columns one by one; each column is first corrected for the errors of earlier columns.

    Args:
        weight: W.
        factor: U of `inverse_factor`, for the same `order`.
        quantize_column: takes a column's index in `weight` and its corrected weights [rows], and
            returns them dequantized [rows]; the callback stores the codes.
        order: column indices in processing order, for instance by descending diagonal of H; None
            for the order in `weight`.
        before_run: callback that receives several columns before they are rounded.

    Returns:
        W_q, columns in the order of `weight`.
    """
    columns = torch.arange(weight.shape[1]) if order is None else order
    # transposed, so that a column is contiguous; corrections overwrite this copy
    work = weight.T[columns]
    # row i of U over its diagonal: subtracted from later columns per unit of error in column i
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
                # this block's errors are not yet applied to columns of this or of later blocks
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
    """Return `rows` in the order before indexing by `order`."""
    result = torch.empty_like(rows)
    result[order] = rows
    return result
