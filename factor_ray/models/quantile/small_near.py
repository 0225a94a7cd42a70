"""Optima of many small quantile regressions near fits that are known: of a neighbouring problem, or an earlier step.

Rows far above or below the known fit are believed to stay there. Their losses are then linear, so that each side is
one row, the sum of its rows; the few rows between and these two are solved in place of all (Portnoy and Koenker, "The
Gaussian hare and the Laplacian tortoise", Statistical Science 1997). What comes out is proven on all rows, and kept if
it is the only optimum: then its bits are those of any other way to it. Axes: K problem, N row, R column.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from factor_ray.models.quantile.small_interior import solve_vertices
from factor_ray.models.quantile.small_vertex import Candidates, Vertices, dots, fitted, proven, pulled, through

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Integers = npt.NDArray[np.intp]

DOUBTED = (64, 192)  # rows that are not believed, at the first attempt and at the second
WORTH = 3  # times as many rows as are doubted, below which there is little to gain
CLEAR = 1e-9  # of the box of a dual, or of the mean residual: a distance that is no rounding


def vertices_near(Xt_KRN: Floats, y_KN: Floats, real_KN: Bools, tau: float, near_KN: Floats) -> Vertices:
    """Optimal vertices of K problems; NaN for those not found this way, or not proven to be the only optimum.

    Parameters
    ----------
    Xt_KRN, y_KN, real_KN, tau
        As in :func:`solve_vertices`.
    near_KN : array (K, N)
        Residuals of fits that are near the optima.
    """
    found = Vertices.none(len(y_KN), Xt_KRN.shape[1])
    for doubted in DOUBTED:
        left_K = np.flatnonzero(np.isnan(found.objective_K))
        if y_KN.shape[1] < WORTH * doubted or not len(left_K):
            break
        Xt_left = Xt_KRN if len(Xt_KRN) == 1 else Xt_KRN[left_K]
        _attempt(Xt_left, y_KN[left_K], real_KN[left_K], tau, near_KN[left_K], doubted, left_K, found)
    return found


def _attempt(
    Xt_KRN: Floats,
    y_KN: Floats,
    real_KN: Bools,
    tau: float,
    near_KN: Floats,
    doubted: int,
    places: Integers,
    found: Vertices,
) -> None:
    """Solve with so many rows in doubt, and record what is proven."""
    rows_KM = np.argpartition(np.where(real_KN, np.abs(near_KN), np.inf), doubted - 1, axis=1)[:, :doubted]
    rows_KM.sort(axis=1)
    fewer = _with_sums(Xt_KRN, y_KN, real_KN, near_KN, rows_KM)
    vertices = solve_vertices(*fewer, tau)
    solved_K = np.isfinite(vertices.objective_K)
    if not solved_K.any():
        return
    Xt_KRM, y_KM = fewer[0][solved_K, :, :doubted], fewer[1][solved_K, :doubted]
    distance_KM = np.abs(y_KM - fitted(Xt_KRM, vertices.coefficients_KR[solved_K]))
    through_KR = np.sort(np.argpartition(distance_KM, Xt_KRN.shape[1] - 1, axis=1)[:, : Xt_KRN.shape[1]], axis=1)
    through_KR = np.take_along_axis(rows_KM[solved_K], through_KR, axis=1)
    Xt_KRN, y_KN = Xt_KRN if len(Xt_KRN) == 1 else Xt_KRN[solved_K], y_KN[solved_K]
    candidates = through(Xt_KRN, y_KN, through_KR, tau)
    whole, optimal_K = proven(Xt_KRN, y_KN, candidates, tau)
    found.record(places[solved_K], whole, optimal_K & _alone(candidates, real_KN[solved_K], through_KR, tau))


def _with_sums(
    Xt_KRN: Floats, y_KN: Floats, real_KN: Bools, near_KN: Floats, rows_KM: Integers
) -> tuple[Floats, Floats, Bools]:
    """The doubted rows, the sum of those above and the sum of those below: designs, responses and which are real."""
    above_KN, below_KN = (near_KN > 0.0) & real_KN, (near_KN <= 0.0) & real_KN
    Xt_KRn, y_Kn = [np.take_along_axis(Xt_KRN, rows_KM[:, None], axis=2)], [np.take_along_axis(y_KN, rows_KM, axis=1)]
    for side_KN in (above_KN, below_KN):
        np.put_along_axis(side_KN, rows_KM, False, axis=1)
        weight_KN = side_KN.astype(np.float64)
        Xt_KRn.append(pulled(Xt_KRN, weight_KN)[:, :, None])
        y_Kn.append(dots(weight_KN, y_KN)[:, None])
    y_KM = np.concatenate(y_Kn, axis=1)
    return np.concatenate(Xt_KRn, axis=2), y_KM, np.ones(y_KM.shape, dtype=bool)


def _alone(found: Candidates, real_KN: Bools, through_KR: Integers, tau: float) -> Bools:
    """Whether no other coefficients are optimal, nor interpolate more rows: no dual or residual is near its end."""
    duals_KR = np.take_along_axis(found.d_KN, through_KR, axis=1)
    inside_K = (np.abs(duals_KR - (tau - 0.5)) < 0.5 - CLEAR).all(axis=1)
    size_KN = np.abs(found.e_KN)
    few_KN = (size_KN <= CLEAR * size_KN.mean(axis=1, keepdims=True)) & real_KN
    alone_K: Bools = inside_K & (few_KN.sum(axis=1) == through_KR.shape[1])
    return alone_K
