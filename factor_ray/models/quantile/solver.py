"""Ridge-penalised quantile regression, exact, with its proof of optimality.

    minimise over c:  (1/N) sum_i rho_tau(y_i - x_i'c) + ridge * sum over penalised j of c_j^2

Step 1 of the quantile factor model (spec of QCF, estimation), and the plain regression of Koenker and Bassett (1978)
at ridge 0.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from factor_ray.errors import InputError
from factor_ray.models.quantile.certificate import pinball
from factor_ray.models.quantile.design import prepare
from factor_ray.models.quantile.interior_point import Solution, solve
from factor_ray.threads import one_blas_thread

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

# Batching saves Python's overhead; beyond this many numbers in one array it only costs cache.
BATCH_NUMBERS = 1 << 17


@dataclass(frozen=True)
class QuantileFit:
    """The optimum of one ridge-penalised quantile regression.

    Attributes
    ----------
    tau, ridge : float
        The level and the penalty it was fitted with.
    coefficients : array (P,)
        In units of y per unit of the column. Where columns are linearly dependent: of all coefficients with this fit
        those with the least penalised sum of squares.
    objective : float
        Mean pinball loss + ridge * ||c_penalised||^2, in the units of y.
    gap : float
        Upper bound of ``objective`` less the least possible one, in the units of y.
    iterations : int
        Newton iterations; each is one X'WX and one Cholesky factor.
    duals : array (N,)
        In [tau - 1, tau]; ``duals / N`` is the derivative of the objective with respect to y. ``X_j'duals / N`` equals
        2 ridge c_j in penalised columns and 0 in the others, which with the bound above proves optimality.
    """

    tau: float
    ridge: float
    coefficients: Floats
    objective: float
    gap: float
    iterations: int
    duals: Floats


def quantile_regression(
    X: npt.ArrayLike,
    y: npt.ArrayLike,
    tau: float,
    ridge: float = 0.0,
    unpenalised: Sequence[int] = (0,),
    *,
    tolerance: float = 1e-8,
) -> QuantileFit:
    """Fit one quantile regression, without adding a constant.

    Parameters
    ----------
    X : array (N, P)
        Regressors; the constant, if wanted, is one of them.
    y : array (N,)
        Response.
    tau : float
        Level, in (0, 1).
    ridge : float
        Weight of the squared coefficients in the objective; 0 is the plain quantile regression, which needs N >= P.
    unpenalised : sequence of int
        Columns that the ridge leaves alone. The default takes the first column for a constant: pass ``()`` if X has
        none.
    tolerance : float
        Largest duality gap, relative to the objective; a gap within the objective's rounding error passes too.

    Raises
    ------
    InputError
        If X is not a finite N x P matrix with N, P >= 1, y not finite or not of length N, tau not in (0, 1), ridge
        negative, a column of ``unpenalised`` absent, or N < P at ridge 0.
    WorkError
        If the gap does not reach the tolerance (a tolerance below rounding error, or nearly collinear columns with a
        ridge too small to matter).

    Examples
    --------
    >>> fit = quantile_regression([[1.0], [1.0], [1.0]], [1.0, 2.0, 9.0], tau=0.5)
    >>> float(fit.coefficients[0])
    2.0
    """
    (fits,) = quantile_regressions([(X, y)], [tau], [ridge], unpenalised, tolerance=tolerance)
    return fits[float(tau), float(ridge)]


@one_blas_thread()
def quantile_regressions(
    problems: Iterable[tuple[npt.ArrayLike, npt.ArrayLike]],
    taus: Sequence[float],
    ridges: Sequence[float] = (0.0,),
    unpenalised: Sequence[int] = (0,),
    *,
    tolerance: float = 1e-8,
) -> list[dict[tuple[float, float], QuantileFit]]:
    """Fit every problem (the months of a panel, say) at every level and with every ridge.

    Levels and ridges of one problem are solved side by side, which for small P is several times faster than one by one
    and gives the same bits: no fit depends on its companions. Linear algebra has one thread meanwhile, so that they do
    not depend on the number of processors either.

    Parameters
    ----------
    problems : iterable of (X, y)
        Of any sizes; see :func:`quantile_regression`, also for the other parameters and the errors.
    taus, ridges : sequences of float
        Levels and penalties; every pair is fitted.

    Returns
    -------
    list of dict
        One dict a problem, from (tau, ridge) to its fit.
    """
    levels, penalties = _levels(taus), _penalties(ridges)
    if not tolerance > 0.0:
        raise InputError(f"tolerance must be a positive number; got {tolerance!r}")
    return [
        _fit_problem(*_matrix_and_response(X, y, number), levels, penalties, unpenalised, tolerance)
        for number, (X, y) in enumerate(problems)
    ]


def _levels(taus: Sequence[float]) -> list[float]:
    for tau in taus:
        if not 0.0 < tau < 1.0:
            raise InputError(f"tau must lie between 0 and 1, both excluded; got {tau!r}")
    return [float(tau) for tau in taus]


def _penalties(ridges: Sequence[float]) -> list[float]:
    for ridge in ridges:
        if not 0.0 <= ridge < np.inf:
            raise InputError(f"ridge must be zero or a positive number; got {ridge!r}")
    return [float(ridge) for ridge in ridges]


def _matrix_and_response(X: npt.ArrayLike, y: npt.ArrayLike, number: int) -> tuple[Floats, Floats]:
    name = f"of quantile regression {number}"
    try:
        matrix, response = np.asarray(X, dtype=np.float64), np.asarray(y, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(f"X and y {name} must be arrays of numbers: {error}") from error
    if matrix.ndim != 2 or 0 in matrix.shape:
        raise InputError(f"X {name} must have two axes and at least one row and one column; got shape {matrix.shape}")
    if response.shape != matrix.shape[:1]:
        raise InputError(
            f"y {name} must have one value for each of the {len(matrix)} rows of X; got shape {response.shape}"
        )
    for letter, values in (("X", matrix), ("y", response)):
        if not np.isfinite(values).all():
            bad = int(np.size(values) - np.isfinite(values).sum())
            raise InputError(f"{letter} {name} must be finite; got {bad} missing or infinite values: drop or fill them")
    return matrix, response


def _fit_problem(
    X: Floats, y: Floats, taus: list[float], ridges: list[float], unpenalised: Sequence[int], tolerance: float
) -> dict[tuple[float, float], QuantileFit]:
    rows, columns = X.shape
    unpenalised_P = _column_mask(unpenalised, columns)
    if rows < columns and 0.0 in ridges:
        raise InputError(
            f"A quantile regression without ridge needs at least as many rows as columns; got {rows} rows and "
            f"{columns} columns: set ridge above 0, or use fewer columns"
        )
    fits = {}
    # A ridge of zero frees all columns, any other only some: the two need different working columns.
    for group in ([ridge for ridge in ridges if ridge == 0.0], [ridge for ridge in ridges if ridge > 0.0]):
        pairs = [(tau, ridge) for ridge in dict.fromkeys(group) for tau in dict.fromkeys(taus)]
        if pairs:
            free_P = unpenalised_P if group[0] > 0.0 else np.ones(columns, dtype=bool)
            fits.update(_fit_pairs(X, y, pairs, free_P, unpenalised_P, tolerance))
    return {(tau, ridge): fits[tau, ridge] for tau in taus for ridge in ridges}


def _column_mask(unpenalised: Sequence[int], columns: int) -> Bools:
    mask = np.zeros(columns, dtype=bool)
    for column in unpenalised:
        if not 0 <= column < columns:
            raise InputError(f"unpenalised must name columns of X, 0 to {columns - 1}; got {column!r}")
        mask[column] = True
    return mask


def _fit_pairs(
    X: Floats, y: Floats, pairs: list[tuple[float, float]], free_P: Bools, unpenalised_P: Bools, tolerance: float
) -> dict[tuple[float, float], QuantileFit]:
    """Fits whose columns without penalty are the same."""
    size = float(np.mean(np.abs(y)))
    y_scale = 2.0 ** round(np.log2(size)) if size > 0.0 else 1.0
    design = prepare(X, y / y_scale, free_P, unpenalised_P)
    tau_K = np.array([tau for tau, _ in pairs])
    # The mean becomes a sum and y is y / y_scale, so that ridge * c^2 becomes this times half the squared coefficient.
    weight_K = np.array([2.0 * len(y) * ridge * y_scale for _, ridge in pairs])
    penalty_KP = weight_K[:, None] * design.penalty_weights
    batch = max(1, BATCH_NUMBERS // max(X.size // 8, len(y)))
    fits = {}
    for begin in range(0, len(pairs), batch):
        part = slice(begin, begin + batch)
        solutions = solve(design.transposed, y / y_scale, tau_K[part], penalty_KP[part], design.start, tolerance)
        for (tau, ridge), solution in zip(pairs[part], solutions, strict=True):
            c_P = design.coefficients(solution.coefficients_P * y_scale)
            fits[tau, ridge] = _in_units_of_y(X, y, tau, ridge, c_P, unpenalised_P, solution, y_scale)
    return fits


def _in_units_of_y(
    X: Floats, y: Floats, tau: float, ridge: float, c_P: Floats, unpenalised_P: Bools, solution: Solution, scale: float
) -> QuantileFit:
    """The fit as the user sees it: its objective is computed afresh, so that the gap also bounds errors of scaling."""
    objective = float(np.mean(pinball(y - X @ c_P, tau)) + ridge * np.sum(c_P[~unpenalised_P] ** 2))
    bound = (solution.objective - solution.gap) * scale / len(y)
    return QuantileFit(tau, ridge, c_P, objective, max(objective - bound, 0.0), solution.iterations, solution.duals_N)
