"""Many small quantile regressions at once: factors of test months, loadings of assets.

    minimise over c, for every problem by itself:  mean over its rows of rho_tau(y_i - x_i'c)

Axes: K problem, N row, R column, M row of all problems, laid end to end.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from factor_ray.errors import InputError
from factor_ray.models.quantile.exchange import NO_ROW, solve_all
from factor_ray.models.quantile.solver import quantile_regression

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]


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
    rows : int array (K, R)
        Rows that the fit goes through, counted in their problem; -1 where that is not known.
    """

    coefficients: Floats
    objective: Floats
    gap: Floats
    rows: Integers


@dataclass(frozen=True)
class Problems:
    """K problems with R columns and any numbers of rows.

    Attributes
    ----------
    Xt_RM, y_M : arrays (R, M), (M,)
        Columns and responses, problem after problem.
    bounds : int array (K + 1,)
        Where each begins, and the end.
    """

    Xt_RM: Floats
    y_M: Floats
    bounds: Integers

    @classmethod
    def of(cls, X: Sequence[npt.ArrayLike], y: Sequence[npt.ArrayLike]) -> Problems:
        """Lay problems end to end.

        Raises
        ------
        InputError
            If there are none, an X is no matrix with as many rows as its y, columns differ, or a number is missing.
        """
        designs, responses = ([np.asarray(part, dtype=np.float64) for part in parts] for parts in (X, y))
        if not designs or len(designs) != len(responses):
            raise InputError(
                f"Quantile regressions need at least one problem, and an X for every y; got {len(designs)} X and "
                f"{len(responses)} y"
            )
        for number, (X_NR, y_N) in enumerate(zip(designs, responses, strict=True)):
            if X_NR.ndim != 2 or X_NR.shape != (len(y_N), designs[0].shape[-1]):
                raise InputError(
                    f"X and y of problem {number} do not fit together or its columns differ from the first's; "
                    f"got shapes {X_NR.shape} and {y_N.shape}"
                )
        bounds = np.concatenate([[0], np.cumsum([len(y_N) for y_N in responses])])
        found = cls(np.concatenate([X_NR.T for X_NR in designs], axis=1), np.concatenate(responses), bounds)
        found.require_numbers()
        return found

    def first(self, columns: int) -> Problems:
        """The same problems with their first columns only."""
        return Problems(self.Xt_RM[:columns], self.y_M, self.bounds)

    def require_numbers(self) -> None:
        """Refuse what is missing or infinite, by the problem's number."""
        bad_M = ~(np.isfinite(self.y_M) & np.isfinite(self.Xt_RM).all(axis=0))
        if bad_M.any():
            first = int(np.searchsorted(self.bounds, np.argmax(bad_M), side="right")) - 1
            raise InputError(
                f"Observed rows must be finite; {int(bad_M.sum())} hold missing or infinite values, the first in "
                f"problem {first}: leave them out"
            )


def small_quantile_regressions(
    X: npt.ArrayLike, y: npt.ArrayLike, tau: float, mask: npt.ArrayLike | None = None
) -> SmallFits:
    """Fit K plain quantile regressions with a few columns each, side by side and without adding a constant.

    A problem's fit depends on its own observed rows alone, bit for bit. Problems with nearly collinear columns are
    passed to :func:`quantile_regression` one by one, as are those whose ties lead in circles.

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

    Raises
    ------
    InputError
        If shapes do not agree, an observed number is missing or infinite, a problem has fewer observed rows than
        columns, or tau is not in (0, 1).
    """
    X_KNR, y_KN = np.asarray(X, dtype=np.float64), np.asarray(y, dtype=np.float64)
    mask_KN = np.ones(y_KN.shape, dtype=bool) if mask is None else np.asarray(mask, dtype=bool)
    X_KNR = X_KNR[None] if X_KNR.ndim == 2 else X_KNR
    _check_shapes(X_KNR, y_KN, mask_KN)
    bounds = np.concatenate([[0], np.cumsum(mask_KN.sum(axis=1))])
    X_MR = X_KNR[0, np.nonzero(mask_KN)[1]] if len(X_KNR) == 1 else X_KNR[mask_KN]
    problems = Problems(np.ascontiguousarray(X_MR.T), y_KN[mask_KN], bounds)
    problems.require_numbers()
    return fit_problems(problems, tau)


def ragged_quantile_regressions(problems: Sequence[tuple[npt.ArrayLike, npt.ArrayLike]], tau: float) -> SmallFits:
    """:func:`small_quantile_regressions` of problems (X, y) with as many columns, but any numbers of rows.

    Parameters
    ----------
    problems : sequence of (array (N, R), array (N,))
    tau : float
        Level, in (0, 1).

    Raises
    ------
    InputError
        As there, or if there are no problems.
    """
    return fit_problems(Problems.of([X for X, _ in problems], [y for _, y in problems]), tau)


def fit_problems(problems: Problems, tau: float, near: npt.ArrayLike | None = None) -> SmallFits:
    """:func:`small_quantile_regressions` of problems that were laid end to end.

    Parameters
    ----------
    problems : Problems
    tau : float
        Level, in (0, 1).
    near : int array (K, R), optional
        Rows that fits near the optima go through, those of neighbouring problems for example, or -1: the optima are
        then found several times faster. They do not change a fit.

    Raises
    ------
    InputError
        If tau is not in (0, 1), a problem has fewer rows than columns, or ``near`` leaves its rows.
    """
    if not 0.0 < tau < 1.0:
        raise InputError(f"tau must lie between 0 and 1, both excluded; got {tau!r}")
    rows_K, columns = np.diff(problems.bounds), len(problems.Xt_RM)
    if (rows_K < columns).any():
        first = int(np.argmax(rows_K < columns))
        raise InputError(
            f"A quantile regression needs at least as many rows as columns; problem {first} has {int(rows_K[first])} "
            f"rows and {columns} columns"
        )
    shape = len(rows_K), columns
    begin_KR = np.full(shape, NO_ROW) if near is None else np.asarray(near, dtype=np.int64)
    if begin_KR.shape != shape or (begin_KR < NO_ROW).any() or (begin_KR >= rows_K[:, None]).any():
        raise InputError(f"near must hold {columns} rows of each of {shape[0]} problems; got shape {begin_KR.shape}")
    fits = SmallFits(np.empty(shape), np.empty(len(rows_K)), np.empty(len(rows_K)), np.empty(shape, dtype=np.int64))
    solve_all(
        problems.Xt_RM,
        problems.y_M,
        problems.bounds,
        tau,
        begin_KR,
        fits.rows,
        fits.coefficients,
        fits.objective,
        fits.gap,
    )
    fits.objective[:] /= rows_K
    fits.gap[:] /= rows_K
    for k in np.flatnonzero(np.isnan(fits.objective)):
        own = slice(problems.bounds[k], problems.bounds[k + 1])
        X_NR, y_N = np.ascontiguousarray(problems.Xt_RM[:, own].T), problems.y_M[own]
        fit = quantile_regression(X_NR, y_N, tau, unpenalised=())
        fits.coefficients[k], fits.objective[k], fits.gap[k] = fit.coefficients, fit.objective, fit.gap
        fits.rows[k] = NO_ROW
    return fits


def _check_shapes(X_KNR: Floats, y_KN: Floats, mask_KN: npt.NDArray[np.bool_]) -> None:
    shapes = f"got X {X_KNR.shape}, y {y_KN.shape} and mask {mask_KN.shape}"
    if X_KNR.ndim != 3 or y_KN.ndim != 2 or mask_KN.shape != y_KN.shape or X_KNR.shape[2] < 1:
        raise InputError(f"X must be problems x rows x columns, y and mask problems x rows; {shapes}")
    if X_KNR.shape[1] != y_KN.shape[1] or len(X_KNR) not in (1, len(y_KN)):
        raise InputError(f"X must have the rows of y, and one matrix or as many as problems; {shapes}")
