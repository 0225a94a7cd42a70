"""A primal-dual interior point for many small quantile regressions without penalty, each on its own few columns.

The iteration is that of :mod:`factor_ray.models.quantile.interior_point`, Mehrotra's predictor and corrector, in arrays
over all problems. Without penalty every iterate stays feasible: y - Xc = u - v and X'd = 0, so that the duality gap is
``sum u s + v w``, with dual slacks ``s = tau - d`` and ``w = d - tau + 1``. A problem ends at a vertex: as soon as its
dual shows as many interpolated rows as there are columns, these rows are solved for c and for d, and a gap of rounding
size proves them right. Where more rows are interpolated (ties, and the months of a converging factor model), c fits all
of them and the duals need only a small change.

BLAS and LAPACK are called for each problem, and sums run over one problem's rows: nothing depends on the companions,
bit for bit. Rows of zeros in X and y do no harm. Axes: K problem, N row, R column.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt

from factor_ray.models.quantile.batched import solve_systems
from factor_ray.models.quantile.small_vertex import Candidates, Vertices, dots, fitted, proven, pulled, through

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Integers = npt.NDArray[np.intp]

MOST_ITERATIONS = 40
STEP_FRACTION = 0.9995  # of the way to the boundary
GUESS_BELOW = 1e-2  # relative gap from which interpolated rows are guessed
DEGENERATE_BELOW = 1e-5  # from which more of them than columns are believed
NO_GAP = 1e-13  # of all responses' sum


@dataclass(frozen=True)
class _Iterate:
    """Rows that are real, response, the parts of the residual y - Xc = u - v, and the dual slacks."""

    real_KN: Bools
    y_KN: Floats
    u_KN: Floats
    v_KN: Floats
    s_KN: Floats
    w_KN: Floats

    def select(self, keep_K: Bools) -> _Iterate:
        """The problems that are kept."""
        return _Iterate(*(getattr(self, field.name)[keep_K] for field in fields(self)))


def solve_vertices(Xt_KRN: Floats, y_KN: Floats, real_KN: Bools, tau: float) -> Vertices:
    """Optimal vertices of K problems; those that end at none within the iterations are left to another solver.

    Parameters
    ----------
    Xt_KRN : array (K or 1, R, N), contiguous
        Transposed designs of full rank, or one that all problems share.
    y_KN, real_KN : arrays (K, N)
        Responses, and which rows are observations; the others are zero in X and y.
    tau : float
        Level.
    """
    found = Vertices.none(len(y_KN), Xt_KRN.shape[1])
    iterate = _starting_point(Xt_KRN, y_KN, real_KN, tau)
    left_K = np.arange(len(y_KN))
    for _ in range(MOST_ITERATIONS):
        gap_K = dots(iterate.u_KN, iterate.s_KN) + dots(iterate.v_KN, iterate.w_KN)
        objective_K = tau * iterate.u_KN.sum(axis=1) + (1.0 - tau) * iterate.v_KN.sum(axis=1)
        done_K = _record_vertices(Xt_KRN, iterate, gap_K, objective_K, tau, left_K, found)
        # What has no gap left and no vertex (many optima, a perfect fit, a singular system) is given up.
        done_K |= ~(gap_K > NO_GAP * np.abs(iterate.y_KN).sum(axis=1))
        if done_K.all():
            break
        if done_K.any():
            iterate, left_K, gap_K = iterate.select(~done_K), left_K[~done_K], gap_K[~done_K]
            Xt_KRN = Xt_KRN if len(Xt_KRN) == 1 else Xt_KRN[~done_K]
        _advance(Xt_KRN, iterate, gap_K, tau)
    return found


def _starting_point(Xt_KRN: Floats, y_KN: Floats, real_KN: Bools, tau: float) -> _Iterate:
    """Least squares, and the duals' zero."""
    gram_KRR = np.broadcast_to(Xt_KRN @ Xt_KRN.transpose(0, 2, 1), (len(y_KN), *(Xt_KRN.shape[1],) * 2))
    c_KR = solve_systems(gram_KRR, pulled(Xt_KRN, y_KN))
    e_KN = y_KN - fitted(Xt_KRN, c_KR)
    rows_K = real_KN.sum(axis=1)
    offset_K = np.abs(e_KN).sum(axis=1) / rows_K + 1e-6 * np.abs(y_KN).sum(axis=1) / rows_K
    u_KN = np.maximum(e_KN, 0.0) + offset_K[:, None]
    return _Iterate(real_KN, y_KN, u_KN, u_KN - e_KN, np.full_like(y_KN, tau), np.full_like(y_KN, 1.0 - tau))


def _advance(Xt_KRN: Floats, iterate: _Iterate, gap_K: Floats, tau: float) -> None:
    """One iteration, in place."""
    u_KN, v_KN, s_KN, w_KN = iterate.u_KN, iterate.v_KN, iterate.s_KN, iterate.w_KN
    u_over_s_KN, v_over_w_KN = u_KN / s_KN, v_KN / w_KN
    q_KN = 1.0 / (u_over_s_KN + v_over_w_KN)
    e_KN, d_KN = u_KN - v_KN, tau - s_KN
    system_KRR = (Xt_KRN * q_KN[:, None]) @ Xt_KRN.transpose(0, 2, 1)

    def towards(goal_KN: Floats) -> Floats:
        """The change of d, after that of c which keeps X'd at zero."""
        dc_KR = solve_systems(system_KRR, pulled(Xt_KRN, q_KN * goal_KN + d_KN))
        step_KN: Floats = q_KN * (goal_KN - fitted(Xt_KRN, dc_KR))
        return step_KN

    # The affine step has du = u (dd / s - 1) and dv = -v (1 + dd / w).
    dd_KN = towards(e_KN)
    up_KN, down_KN = dd_KN / s_KN, dd_KN / w_KN
    least_up_K, most_down_K = up_KN.min(axis=1), down_KN.max(axis=1)
    primal_K = _step(1.0 + np.maximum(-least_up_K, most_down_K))
    dual_K = _step(np.maximum(up_KN.max(axis=1), -down_KN.min(axis=1)))
    second_u_KN = (up_KN - 1.0) * u_KN * dd_KN
    second_v_KN = (down_KN + 1.0) * v_KN * dd_KN
    across_K = dots(e_KN, dd_KN)
    quadratic_K = second_u_KN.sum(axis=1) + second_v_KN.sum(axis=1) + across_K
    then_K = (1.0 - primal_K) * (gap_K - dual_K * across_K) + primal_K * across_K - primal_K * dual_K * quadratic_K
    centre_K1 = ((then_K / gap_K) ** 3 * gap_K / (2 * u_KN.shape[1]))[:, None]

    u_shift_KN, v_shift_KN = (centre_K1 + second_u_KN) / s_KN, (centre_K1 + second_v_KN) / w_KN
    dd_KN = towards(e_KN - u_shift_KN + v_shift_KN)
    du_KN = u_shift_KN - u_KN + u_over_s_KN * dd_KN
    dv_KN = v_shift_KN - v_KN - v_over_w_KN * dd_KN
    primal_K = _step(-np.minimum((du_KN / u_KN).min(axis=1), (dv_KN / v_KN).min(axis=1)))
    dual_K = _step(np.maximum((dd_KN / s_KN).max(axis=1), -(dd_KN / w_KN).min(axis=1)))
    u_KN += primal_K[:, None] * du_KN
    v_KN += primal_K[:, None] * dv_KN
    dd_KN *= dual_K[:, None]
    s_KN -= dd_KN
    w_KN += dd_KN


def _record_vertices(
    Xt_KRN: Floats, iterate: _Iterate, gap_K: Floats, objective_K: Floats, tau: float, left_K: Integers, found: Vertices
) -> Bools:
    """Try the rows that seem interpolated, and record what is proven optimal.

    They are tried where they are as many as the columns, and near the end also where they are more.
    """
    columns = Xt_KRN.shape[1]
    done_K = np.zeros(len(gap_K), dtype=bool)
    near = np.flatnonzero(gap_K <= GUESS_BELOW * objective_K)
    if not len(near):
        return done_K
    u_KN, v_KN, s_KN, w_KN = (part[near] for part in (iterate.u_KN, iterate.v_KN, iterate.s_KN, iterate.w_KN))
    unit_K1 = 0.25 * np.mean(np.abs(u_KN - v_KN), axis=1)[:, None]
    guess_KN = (unit_K1 * np.minimum(s_KN, w_KN) > np.maximum(u_KN, v_KN)) & iterate.real_KN[near]
    rows_K = guess_KN.sum(axis=1)
    end_K = gap_K[near] <= DEGENERATE_BELOW * objective_K[near]
    for attempt, tried_K in ((_vertices, rows_K == columns), (_degenerate, (rows_K > columns) & end_K)):
        if tried_K.any():
            tried = near[tried_K]
            d_KN = tau - s_KN[tried_K]
            Xt_tried = Xt_KRN if len(Xt_KRN) == 1 else Xt_KRN[tried]
            y_tried = iterate.y_KN[tried]
            vertices, optimal_K = proven(
                Xt_tried, y_tried, attempt(Xt_tried, y_tried, guess_KN[tried_K], d_KN, tau), tau
            )
            found.record(left_K[tried], vertices, optimal_K)
            done_K[tried[optimal_K]] = True
    return done_K


def _vertices(Xt_KRN: Floats, y_KN: Floats, guess_KN: Bools, _d_KN: Floats, tau: float) -> Candidates:
    """Coefficients that interpolate as many rows as columns."""
    rows_KR = np.nonzero(guess_KN)[1].reshape(-1, Xt_KRN.shape[1])
    return through(Xt_KRN, y_KN, rows_KR, tau)


def _degenerate(Xt_KRN: Floats, y_KN: Floats, guess_KN: Bools, d_KN: Floats, tau: float) -> Candidates:
    """Coefficients that interpolate more rows than columns; the interior point's duals, moved the least there."""
    guessed_KRN = Xt_KRN * guess_KN[:, None]
    gram_KRR = guessed_KRN @ Xt_KRN.transpose(0, 2, 1)
    c_KR = np.zeros(guessed_KRN.shape[:2])
    d_KN = np.where(guess_KN, d_KN, 0.0)
    for _ in range(2):  # the second pass is iterative refinement
        e_KN = y_KN - fitted(Xt_KRN, c_KR)
        c_KR += solve_systems(gram_KRR, pulled(guessed_KRN, e_KN))
    e_KN = y_KN - fitted(Xt_KRN, c_KR)
    d_KN = np.where(guess_KN, d_KN, np.where(e_KN > 0.0, tau, tau - 1.0))
    for _ in range(2):
        d_KN -= fitted(guessed_KRN, solve_systems(gram_KRR, pulled(Xt_KRN, d_KN)))
    return Candidates(c_KR, e_KN, d_KN)


def _step(fastest_K: Floats) -> Floats:
    """Longest step, at most 1, after which what shrinks at these relative rates is still clear of zero."""
    step_K: Floats = STEP_FRACTION / np.maximum(fastest_K, STEP_FRACTION)
    return step_K
