"""Many small quantile regressions at once: factors of test months, loadings of assets.

    minimise over c, for every problem by itself:  mean over its rows of rho_tau(y_i - x_i'c)

Axes: K problem, N row, R column.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
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

    @classmethod
    def empty(cls, problems: int, columns: int) -> SmallFits:
        """Return space for K problems."""
        return cls(np.empty((problems, columns)), np.empty(problems), np.empty(problems))

    def record(self, places: Integers, fits: SmallFits) -> None:
        """Take the fits of some of the problems."""
        self.coefficients[places] = fits.coefficients
        self.objective[places], self.gap[places] = fits.objective, fits.gap


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
    _check_shapes(X_KNR, y_KN, mask_KN, near_KN)
    _check_tau(tau)
    fits = SmallFits.empty(len(y_KN), X_KNR.shape[2])
    for places, size in _blocks(mask_KN.sum(axis=1), near_KN is not None):
        block = _compact(X_KNR, y_KN, mask_KN, near_KN, places, size)
        _check_problems(block, places)
        fits.record(places, _fitted(block, tau))
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
    guesses = None if near is None else [np.asarray(e_N, dtype=np.float64) for e_N in near]
    for number, (X_NR, y_N) in enumerate(pairs):
        if X_NR.ndim != 2 or X_NR.shape != (len(y_N), pairs[0][0].shape[-1]):
            raise InputError(
                f"X and y of problem {number} do not fit together or its columns differ from the first's; "
                f"got shapes {X_NR.shape} and {y_N.shape}"
            )
    if guesses is not None and [e_N.shape for e_N in guesses] != [y_N.shape for _, y_N in pairs]:
        raise InputError("near must hold residuals of every problem's rows")
    columns = pairs[0][0].shape[1]
    _check_tau(tau)
    fits = SmallFits.empty(len(pairs), columns)
    for places, size in _blocks(np.array([len(y_N) for _, y_N in pairs]), near is not None):
        block = _Compact.empty(len(places), columns, size, near is not None)
        for k, place in enumerate(places.tolist()):
            X_NR, y_N = pairs[place]
            block.Xt_KRn[k, :, : len(y_N)], block.y_Kn[k, : len(y_N)] = X_NR.T, y_N
            block.real_Kn[k, : len(y_N)] = True
            if guesses is not None and block.near_Kn is not None:
                block.near_Kn[k, : len(y_N)] = guesses[place]
        _check_problems(block, places)
        fits.record(places, _fitted(block, tau))
    return fits


@dataclass(frozen=True)
class _Compact:
    """K problems padded to one size n: observed rows first, in their order, then rows of zeros."""

    Xt_KRn: Floats
    """One matrix where all problems share it."""
    y_Kn: Floats
    real_Kn: Bools
    near_Kn: Floats | None

    @classmethod
    def empty(cls, problems: int, columns: int, size: int, near: bool) -> _Compact:
        shape = problems, size
        Xt_KRn = np.zeros((problems, columns, size))
        return cls(Xt_KRn, np.zeros(shape), np.zeros(shape, dtype=bool), np.zeros(shape) if near else None)

    def select(self, keep_K: Bools | Integers) -> _Compact:
        """The problems that are kept."""
        Xt_KRn = self.Xt_KRn if len(self.Xt_KRn) == 1 else self.Xt_KRn[keep_K]
        near_Kn = None if self.near_Kn is None else self.near_Kn[keep_K]
        return _Compact(Xt_KRn, self.y_Kn[keep_K], self.real_Kn[keep_K], near_Kn)

    def alone(self, k: int) -> tuple[Floats, Floats]:
        """One problem's X and y."""
        real_n = self.real_Kn[k]
        Xt_Rn = self.Xt_KRn[0 if len(self.Xt_KRn) == 1 else k]
        return np.ascontiguousarray(Xt_Rn[:, real_n].T), self.y_Kn[k, real_n]


def _check_shapes(X_KNR: Floats, y_KN: Floats, mask_KN: Bools, near_KN: Floats | None) -> None:
    shapes = f"got X {X_KNR.shape}, y {y_KN.shape} and mask {mask_KN.shape}"
    if X_KNR.ndim != 3 or y_KN.ndim != 2 or mask_KN.shape != y_KN.shape or X_KNR.shape[2] < 1:
        raise InputError(f"X must be problems x rows x columns, y and mask problems x rows; {shapes}")
    if X_KNR.shape[1] != y_KN.shape[1] or len(X_KNR) not in (1, len(y_KN)):
        raise InputError(f"X must have the rows of y, and one matrix or as many as problems; {shapes}")
    if near_KN is not None and near_KN.shape != y_KN.shape:
        raise InputError(f"near must hold residuals in the shape of y; got shape {near_KN.shape} and y {y_KN.shape}")


def _check_tau(tau: float) -> None:
    if not 0.0 < tau < 1.0:
        raise InputError(f"tau must lie between 0 and 1, both excluded; got {tau!r}")


def _check_problems(block: _Compact, numbers: Integers) -> None:
    """Refuse what cannot be fitted, by the problems' numbers."""
    finite_Kn = np.isfinite(block.y_Kn) & np.isfinite(block.Xt_KRn).all(axis=1)
    bad_Kn = ~finite_Kn & block.real_Kn
    if bad_Kn.any():
        raise InputError(
            f"Observed rows must be finite; {int(bad_Kn.sum())} hold missing or infinite values, the first in problem "
            f"{int(numbers[np.argmax(bad_Kn.any(axis=1))])}: leave them out by the mask"
        )
    if block.near_Kn is not None and not np.isfinite(block.near_Kn).all():
        first = int(numbers[np.argmax(~np.isfinite(block.near_Kn).all(axis=1))])
        raise InputError(f"near must be finite residuals; those of problem {first} are not: give none instead")
    rows_K, columns = block.real_Kn.sum(axis=1), block.Xt_KRn.shape[1]
    if (rows_K < columns).any():
        first = int(np.argmax(rows_K < columns))
        raise InputError(
            f"A quantile regression needs at least as many rows as columns; problem {int(numbers[first])} has "
            f"{int(rows_K[first])} rows and {columns} columns"
        )


def _blocks(rows_K: Integers, near: bool) -> Iterator[tuple[Integers, int]]:
    """Problems of about one size that are solved side by side, and the size that they are padded to."""
    padded_K = _padded(rows_K)
    for size in np.unique(padded_K).tolist():
        block = max(1, (NEAR_NUMBERS if near else BLOCK_NUMBERS) // max(size, 1))
        alike = np.flatnonzero(padded_K == size)
        for begin in range(0, len(alike), block):
            yield alike[begin : begin + block], size


def _padded(rows_K: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Rows rounded up by an eighth at most, so that problems of about one size are solved side by side."""
    unit_K = np.exp2(np.maximum(np.floor(np.log2(rows_K)) - 3.0, 0.0)).astype(np.int64)
    padded_K: npt.NDArray[np.int64] = -(-rows_K // unit_K) * unit_K
    return padded_K


def _compact(
    X_KNR: Floats, y_KN: Floats, mask_KN: Bools, near_KN: Floats | None, places: Integers, size: int
) -> _Compact:
    """Some problems, padded to one size."""
    rows_Kn = np.argsort(~mask_KN[places], axis=1, kind="stable")[:, :size]
    real_Kn = np.take_along_axis(mask_KN[places], rows_Kn, axis=1)
    beyond = ((0, 0), (0, size - rows_Kn.shape[1]))

    def taken(values_KN: Floats) -> Floats:
        return np.pad(np.where(real_Kn, np.take_along_axis(values_KN[places], rows_Kn, axis=1), 0.0), beyond)

    if len(X_KNR) == 1 and mask_KN[places].all():
        X_KnR = X_KNR
    else:
        X_KnR = np.where(real_Kn[:, :, None], X_KNR[0 if len(X_KNR) == 1 else places[:, None], rows_Kn], 0.0)
    Xt_KRn = np.ascontiguousarray(np.pad(X_KnR, (*beyond, (0, 0))).transpose(0, 2, 1))
    near_Kn = None if near_KN is None else taken(near_KN)
    return _Compact(Xt_KRn, taken(y_KN), np.pad(real_Kn, beyond), near_Kn)


def _fitted(block: _Compact, tau: float) -> SmallFits:
    """Fit problems that are padded to one size."""
    regular_K = np.broadcast_to(_well_conditioned(block.Xt_KRn), len(block.y_Kn)) & block.y_Kn.any(axis=1)
    solved = _solved(block if regular_K.all() else block.select(regular_K), tau)
    rows_K = block.real_Kn.sum(axis=1)
    fits = SmallFits.empty(len(rows_K), block.Xt_KRn.shape[1])
    regular = np.flatnonzero(regular_K)
    fits.coefficients[regular] = solved.coefficients_KR
    fits.objective[regular] = solved.objective_K / rows_K[regular]
    fits.gap[regular] = solved.gap_K / rows_K[regular]
    for k in [*np.flatnonzero(~regular_K), *regular[np.isnan(solved.objective_K)]]:
        X_NR, y_N = block.alone(k)
        fit = quantile_regression(X_NR, y_N, tau, unpenalised=())
        fits.coefficients[k], fits.objective[k], fits.gap[k] = fit.coefficients, fit.objective, fit.gap
    return fits


def _solved(block: _Compact, tau: float) -> Vertices:
    """Vertices near the known fits, where there are any; of the others and of what is not found there, from afar."""
    if block.near_Kn is None:
        return solve_vertices(block.Xt_KRn, block.y_Kn, block.real_Kn, tau)
    found = vertices_near(block.Xt_KRn, block.y_Kn, block.real_Kn, tau, block.near_Kn)
    left_K = np.flatnonzero(np.isnan(found.objective_K))
    at_once = max(1, BLOCK_NUMBERS // block.y_Kn.shape[1])
    for begin in range(0, len(left_K), at_once):
        places = left_K[begin : begin + at_once]
        some = block.select(places)
        vertices = solve_vertices(some.Xt_KRn, some.y_Kn, some.real_Kn, tau)
        found.record(places, vertices, np.ones(len(places), dtype=bool))
    return found


def _well_conditioned(Xt_KRN: Floats) -> Bools:
    gram_KRR = Xt_KRN @ Xt_KRN.transpose(0, 2, 1)
    length_KR = np.sqrt(np.diagonal(gram_KRR, axis1=1, axis2=2))
    whole_K = (length_KR > 0.0).all(axis=1)
    length_KR = np.where(length_KR > 0.0, length_KR, 1.0)
    values_KR = np.linalg.eigvalsh(gram_KRR / (length_KR[:, :, None] * length_KR[:, None]))
    good_K: Bools = whole_K & (values_KR[:, 0] > WELL_CONDITIONED * values_KR[:, -1])
    return good_K
