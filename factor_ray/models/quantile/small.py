"""Many small quantile regressions at once: factors of test months, loadings of assets.

    minimise over c, for every problem by itself:  mean over its rows of rho_tau(y_i - x_i'c)

Axes: K problem, N row, R column.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from factor_ray.errors import InputError
from factor_ray.models.quantile.small_interior import solve_vertices
from factor_ray.models.quantile.small_near import vertices_near
from factor_ray.models.quantile.small_vertex import Vertices
from factor_ray.models.quantile.solver import quantile_regression

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Integers = npt.NDArray[np.intp]

BLOCK_NUMBERS = 1 << 14  # responses solved at a time: more would leave the cache
NEAR_NUMBERS = 1 << 18  # where few of them are in doubt
STACKED = 256  # problems of unlike sizes that are padded to one at a time
WELL_CONDITIONED = (
    1e-10  # reciprocal condition of the columns' correlations, below which the general solver rotates them
)


@dataclass(frozen=True)
class SmallFits:
    """Optima of K problems.

    Attributes
    ----------
    coefficients : array (K, R)
        In units of y per unit of the column.
    objective : array (K,)
        Mean pinball loss, in the units of y.
    gap : array (K,)
        Upper bound of ``objective`` less the least possible one, in the units of y.
    """

    coefficients: Floats
    objective: Floats
    gap: Floats


def small_quantile_regressions(
    X: npt.ArrayLike,
    y: npt.ArrayLike,
    tau: float,
    mask: npt.ArrayLike | None = None,
    near: npt.ArrayLike | None = None,
) -> SmallFits:
    """Fit K plain quantile regressions with a few columns each, side by side and without adding a constant.

    A problem's fit depends on its own observed rows alone, bit for bit. Problems without a single optimum, or with
    nearly collinear columns, are passed to :func:`quantile_regression` one by one.

    Parameters
    ----------
    X : array (N, R) or (K, N, R)
        Regressors: one matrix for all problems, or one for each.
    y : array (K, N)
        Responses.
    tau : float
        Level, in (0, 1).
    mask : array of bool (K, N), optional
        Which rows of each problem are observed; others may hold anything. By default all are.
    near : array (K, N), optional
        Residuals of any fits that are near the optima, of neighbouring problems for example: these are then found
        several times faster. They do not change a fit.

    Raises
    ------
    InputError
        If shapes do not agree, an observed number is missing or infinite, a problem has fewer observed rows than
        columns, or tau is not in (0, 1).
    """
    X_KNR, y_KN = np.asarray(X, dtype=np.float64), np.asarray(y, dtype=np.float64)
    X_KNR = X_KNR[None] if X_KNR.ndim == 2 else X_KNR
    mask_KN = np.ones(y_KN.shape, dtype=bool) if mask is None else np.asarray(mask, dtype=bool)
    near_KN = None if near is None else np.asarray(near, dtype=np.float64)
    _check(X_KNR, y_KN, tau, mask_KN, near_KN)
    count, columns = len(y_KN), X_KNR.shape[2]
    fits = SmallFits(np.empty((count, columns)), np.empty(count), np.empty(count))
    rows_K = mask_KN.sum(axis=1)
    padded_K = _padded(rows_K)
    for size in np.unique(padded_K):
        block = max(1, (BLOCK_NUMBERS if near_KN is None else NEAR_NUMBERS) // int(size))
        alike = np.flatnonzero(padded_K == size)
        for begin in range(0, len(alike), block):
            _fit_block(X_KNR, y_KN, tau, mask_KN, near_KN, alike[begin : begin + block], int(size), fits)
    return fits


def ragged_quantile_regressions(
    problems: Sequence[tuple[npt.ArrayLike, npt.ArrayLike]], tau: float, near: Sequence[npt.ArrayLike] | None = None
) -> SmallFits:
    """:func:`small_quantile_regressions` of problems (X, y) with as many columns, but any numbers of rows.

    Parameters
    ----------
    problems : sequence of (array (N, R), array (N,))
    tau : float
        Level, in (0, 1).
    near : sequence of array (N,), optional
        Residuals near those of each problem's optimum.

    Raises
    ------
    InputError
        As there, or if there are no problems.
    """
    if not problems:
        raise InputError("Quantile regressions need at least one problem (X, y); got none")
    pairs = [(np.asarray(X, dtype=np.float64), np.asarray(y, dtype=np.float64)) for X, y in problems]
    for number, (X_NR, y_N) in enumerate(pairs):
        if X_NR.ndim != 2 or X_NR.shape != (len(y_N), pairs[0][0].shape[-1]):
            raise InputError(
                f"X and y of problem {number} do not fit together or its columns differ from the first's; "
                f"got shapes {X_NR.shape} and {y_N.shape}"
            )
    guesses = None if near is None else [np.asarray(e_N, dtype=np.float64) for e_N in near]
    if guesses is not None and [e_N.shape for e_N in guesses] != [y_N.shape for _, y_N in pairs]:
        raise InputError("near must hold residuals of every problem's rows")
    parts = []
    for begin in range(0, len(pairs), STACKED):
        part = slice(begin, begin + STACKED)
        parts.append(_stacked(pairs[part], tau, None if guesses is None else guesses[part]))
    return SmallFits(
        np.concatenate([part.coefficients for part in parts]),
        np.concatenate([part.objective for part in parts]),
        np.concatenate([part.gap for part in parts]),
    )


def _stacked(pairs: Sequence[tuple[Floats, Floats]], tau: float, near: Sequence[Floats] | None) -> SmallFits:
    rows_K = np.array([len(y_N) for _, y_N in pairs])
    mask_KN = np.arange(rows_K.max()) < rows_K[:, None]
    X_KNR = np.zeros((*mask_KN.shape, pairs[0][0].shape[1]))
    X_KNR[mask_KN] = np.concatenate([X_NR for X_NR, _ in pairs])
    y_KN = np.zeros(mask_KN.shape)
    y_KN[mask_KN] = np.concatenate([y_N for _, y_N in pairs])
    near_KN = None
    if near is not None:
        near_KN = np.zeros(mask_KN.shape)
        near_KN[mask_KN] = np.concatenate(near)
    return small_quantile_regressions(X_KNR, y_KN, tau, mask_KN, near_KN)


def _check(X_KNR: Floats, y_KN: Floats, tau: float, mask_KN: Bools, near_KN: Floats | None) -> None:
    shapes = f"got X {X_KNR.shape}, y {y_KN.shape} and mask {mask_KN.shape}"
    if X_KNR.ndim != 3 or y_KN.ndim != 2 or mask_KN.shape != y_KN.shape or X_KNR.shape[2] < 1:
        raise InputError(f"X must be problems x rows x columns, y and mask problems x rows; {shapes}")
    if X_KNR.shape[1] != y_KN.shape[1] or len(X_KNR) not in (1, len(y_KN)):
        raise InputError(f"X must have the rows of y, and one matrix or as many as problems; {shapes}")
    if not 0.0 < tau < 1.0:
        raise InputError(f"tau must lie between 0 and 1, both excluded; got {tau!r}")
    if near_KN is not None and (near_KN.shape != y_KN.shape or not np.isfinite(near_KN[mask_KN]).all()):
        raise InputError(f"near must be finite residuals in the shape of y; got shape {near_KN.shape}")
    bad_KN = ~(np.isfinite(y_KN) & np.isfinite(X_KNR).all(axis=2)) & mask_KN
    if bad_KN.any():
        raise InputError(
            f"Observed rows must be finite; {int(bad_KN.sum())} hold missing or infinite values, the first in problem "
            f"{int(np.argmax(bad_KN.any(axis=1)))}: leave them out by the mask"
        )
    short_K = mask_KN.sum(axis=1) < X_KNR.shape[2]
    if short_K.any():
        first = int(np.argmax(short_K))
        raise InputError(
            f"A quantile regression needs at least as many rows as columns; problem {first} has "
            f"{int(mask_KN[first].sum())} rows and {X_KNR.shape[2]} columns"
        )


def _padded(rows_K: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Rows rounded up by an eighth at most, so that problems of about one size are solved side by side."""
    unit_K = np.exp2(np.maximum(np.floor(np.log2(rows_K)) - 3.0, 0.0)).astype(np.int64)
    padded_K: npt.NDArray[np.int64] = -(-rows_K // unit_K) * unit_K
    return padded_K


def _fit_block(
    X_KNR: Floats,
    y_KN: Floats,
    tau: float,
    mask_KN: Bools,
    near_KN: Floats | None,
    places: Integers,
    size: int,
    fits: SmallFits,
) -> None:
    """Fit problems that are padded to one size."""
    # Observed rows first, in their order; what is left of the size is rows of zeros.
    rows_Kn = np.argsort(~mask_KN[places], axis=1, kind="stable")[:, :size]
    real_Kn = np.take_along_axis(mask_KN[places], rows_Kn, axis=1)
    y_Kn = np.where(real_Kn, np.take_along_axis(y_KN[places], rows_Kn, axis=1), 0.0)
    beyond = ((0, 0), (0, size - rows_Kn.shape[1]))
    y_Kn, real_Kn = np.pad(y_Kn, beyond), np.pad(real_Kn, beyond)
    if len(X_KNR) == 1 and mask_KN[places].all():
        X_KnR = X_KNR
    else:
        X_KnR = np.where(
            real_Kn[:, : rows_Kn.shape[1], None], X_KNR[0 if len(X_KNR) == 1 else places[:, None], rows_Kn], 0.0
        )
    Xt_KRn = np.ascontiguousarray(np.pad(X_KnR, (*beyond, (0, 0))).transpose(0, 2, 1))
    regular_K = np.broadcast_to(_well_conditioned(Xt_KRn), len(places)) & y_Kn.any(axis=1)
    near_Kn = None
    if near_KN is not None:
        near_Kn = np.pad(np.take_along_axis(near_KN[places], rows_Kn, axis=1), beyond)[regular_K]
    Xt_KRn = Xt_KRn if len(Xt_KRn) == 1 else Xt_KRn[regular_K]
    solved = _solved(Xt_KRn, y_Kn[regular_K], real_Kn[regular_K], tau, near_Kn)
    rows_K = real_Kn.sum(axis=1)
    done = places[regular_K]
    fits.coefficients[done] = solved.coefficients_KR
    fits.objective[done] = solved.objective_K / rows_K[regular_K]
    fits.gap[done] = solved.gap_K / rows_K[regular_K]
    for k in [*places[~regular_K], *done[np.isnan(solved.objective_K)]]:
        seen_N = mask_KN[k]
        fit = quantile_regression(X_KNR[0 if len(X_KNR) == 1 else k][seen_N], y_KN[k, seen_N], tau, unpenalised=())
        fits.coefficients[k], fits.objective[k], fits.gap[k] = fit.coefficients, fit.objective, fit.gap


def _solved(Xt_KRN: Floats, y_KN: Floats, real_KN: Bools, tau: float, near_KN: Floats | None) -> Vertices:
    """Vertices near the known fits, where there are any; of the others and of what is not found there, from afar."""
    if near_KN is None:
        return solve_vertices(Xt_KRN, y_KN, real_KN, tau)
    found = vertices_near(Xt_KRN, y_KN, real_KN, tau, near_KN)
    left_K = np.flatnonzero(np.isnan(found.objective_K))
    block = max(1, BLOCK_NUMBERS // y_KN.shape[1])
    for begin in range(0, len(left_K), block):
        some = left_K[begin : begin + block]
        Xt_some = Xt_KRN if len(Xt_KRN) == 1 else Xt_KRN[some]
        vertices = solve_vertices(Xt_some, y_KN[some], real_KN[some], tau)
        found.record(some, vertices, np.ones(len(some), dtype=bool))
    return found


def _well_conditioned(Xt_KRN: Floats) -> Bools:
    gram_KRR = Xt_KRN @ Xt_KRN.transpose(0, 2, 1)
    length_KR = np.sqrt(np.diagonal(gram_KRR, axis1=1, axis2=2))
    whole_K = (length_KR > 0.0).all(axis=1)
    length_KR = np.where(length_KR > 0.0, length_KR, 1.0)
    values_KR = np.linalg.eigvalsh(gram_KRR / (length_KR[:, :, None] * length_KR[:, None]))
    good_K: Bools = whole_K & (values_KR[:, 0] > WELL_CONDITIONED * values_KR[:, -1])
    return good_K
