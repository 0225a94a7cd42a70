"""The exact optimum, once the interior point shows which rows the fit interpolates. Axes: N row, P column.

Given the set h of rows with residual zero, and the signs of all other residuals (whose duals are then tau or tau - 1),
the optimality conditions are linear. Solving them ends the iterations early and gives coefficients that are exact to
rounding, where a gap of 1e-8 leaves coefficients uncertain to many more digits. A wrong guess does no harm: its duals
leave their box, or its duality gap is large.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.linalg.lapack import dgecon, dgetrf, dgetrs

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

WELL_CONDITIONED = 1e-13  # reciprocal condition below which a system counts as singular
OUTSIDE = 1e-10  # of its box, that rounding may leave a dual


def exact_solution(
    X: Floats, y_N: Floats, tau: float, penalty_P: Floats, e_N: Floats, h_N: Bools
) -> tuple[Floats, Floats] | None:
    """Coefficients and duals that interpolate the rows h, or None where these do not determine them.

    Parameters
    ----------
    X, y_N : arrays (N, P), (N,)
        Design and response.
    tau : float
        Level.
    penalty_P : array (P,)
        Diagonal of R.
    e_N : array (N,)
        Residuals near the optimum, for their signs.
    h_N : array of bool (N,)
        Rows believed to have residual zero.

    Returns
    -------
    (c_P, d_N) or None
        The duals are clipped to their box. A wrong guess shows by duals that leave it, or by the duality gap.
    """
    d_N = np.where(h_N, 0.0, np.where(e_N > 0.0, tau, tau - 1.0))
    pull_P = d_N @ X
    free_P = penalty_P == 0.0
    count = int(h_N.sum())
    # More interpolated rows than columns, or fewer than free columns, do not determine the duals or coefficients.
    if count > len(penalty_P) or count < int(free_P.sum()):
        return None
    solve = _square if free_P.all() else _bordered
    found = solve(X[h_N], y_N[h_N], penalty_P, free_P, pull_P)
    if found is None:
        return None
    c_P, dual_h = found
    # Clipping leaves X'd off zero in columns without penalty, where the bound of the gap allows for rounding only.
    if free_P.any() and np.abs(dual_h - (tau - 0.5)).max(initial=0.0) > 0.5 + OUTSIDE:
        return None
    d_N[h_N] = np.clip(dual_h, tau - 1.0, tau)
    return c_P, d_N


def _square(
    X_h: Floats, y_h: Floats, _penalty_P: Floats, _free_P: Bools, pull_P: Floats
) -> tuple[Floats, Floats] | None:
    """Without penalty: X_h c = y_h and X_h' d_h = -pull, one LU for both."""
    lu, pivots, info = dgetrf(X_h)
    if info != 0:
        return None
    c_P, _ = dgetrs(lu, pivots, y_h)
    dual_h, _ = dgetrs(lu, pivots, -pull_P, trans=1)
    return c_P, dual_h


def _bordered(
    X_h: Floats, y_h: Floats, penalty_P: Floats, free_P: Bools, pull_P: Floats
) -> tuple[Floats, Floats] | None:
    """With penalty: R c = X_h' d_h + pull and X_h c = y_h, the penalised coefficients eliminated."""
    count, frees = len(y_h), int(free_P.sum())
    X_free, X_penalised = X_h[:, free_P], X_h[:, ~free_P]
    system = np.zeros((count + frees, count + frees))
    system[:count, :count] = X_penalised / penalty_P[~free_P] @ X_penalised.T
    system[:count, count:] = X_free
    system[count:, :count] = X_free.T
    c_P, dual_h = np.zeros_like(penalty_P), np.zeros(count)
    c_P[~free_P] = pull_P[~free_P] / penalty_P[~free_P]
    if not len(system):
        return c_P, dual_h
    lu, pivots, info = dgetrf(system)
    regular = info == 0 and dgecon(lu, np.abs(system).sum(axis=0).max())[0] > WELL_CONDITIONED
    # The second pass is iterative refinement: eliminating squares the condition of X_h.
    for _ in range(2):
        right = np.concatenate([y_h - X_h @ c_P, -pull_P[free_P] - X_free.T @ dual_h])
        # Equal rows share their dual, which the shortest solution divides evenly.
        change = dgetrs(lu, pivots, right)[0] if regular else np.linalg.lstsq(system, right, WELL_CONDITIONED)[0]
        dual_h += change[:count]
        c_P[free_P] += change[count:]
        c_P[~free_P] = (X_penalised.T @ dual_h + pull_P[~free_P]) / penalty_P[~free_P]
    return c_P, dual_h
