"""The factored matrix ``X'QX + R`` of a Newton system, in two ways. Axes: N row, P column.

Near the optimum the weights Q of interpolated rows are 1e10 and more times those of the others. A small penalty, the
only thing that determines some combination of the columns once fewer rows than columns are interpolated, is then lost
in the rounding of X'QX. It is not in a QR of the weighted rows, which takes five to ten times as long.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.linalg.blas import dsyrk
from scipy.linalg.lapack import dgeqrf, dpotrf

from factor_ray.errors import WorkError

Floats = npt.NDArray[np.float64]


def factor_by_cholesky(Xt: Floats, root_N: Floats, penalty_P: Floats, scratch: Floats) -> Floats:
    """Lower Cholesky factor of ``X'QX + R``; scratch has the shape of Xt and is overwritten.

    Raises
    ------
    WorkError
        If the matrix is singular to rounding.
    """
    np.multiply(Xt, root_N, out=scratch)
    gram = dsyrk(1.0, scratch.T, trans=1, lower=1)
    diagonal_P = gram.diagonal() + penalty_P
    # The relative inflation is below the iteration's own accuracy; nearly collinear columns need more of it.
    for inflation in (1e-14, 1e-12, 1e-10, 1e-8):
        np.fill_diagonal(gram, diagonal_P * (1.0 + inflation))
        factor, failure = dpotrf(gram, lower=1, clean=0)
        if failure == 0:
            return np.asarray(factor, dtype=np.float64)
    raise WorkError(
        "A Newton system of a quantile regression is singular to rounding: raise the ridge, or remove nearly collinear "
        "columns"
    )


def factor_by_qr(Xt: Floats, root_N: Floats, penalty_P: Floats) -> Floats:
    """The same factor without forming ``X'QX``; heavy rows first, which keeps the light ones' digits (Bjorck 1996)."""
    rows = np.concatenate([root_N[:, None] * Xt.T, np.diag(np.sqrt(penalty_P))])
    order = np.argsort(-np.abs(rows).max(axis=1), kind="stable")
    triangle = dgeqrf(rows[order])[0][: len(Xt)]
    return np.asfortranarray(np.tril(triangle.T), dtype=np.float64)
