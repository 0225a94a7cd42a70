"""Vertices of many small quantile regressions: coefficients that interpolate rows, and the proof that they are best.

The interpolated rows are solved for the coefficients c and for the duals d, all other duals being at the ends of their
box as the residuals' signs say. A gap of rounding size then proves the vertex optimal, whoever has guessed the rows.

BLAS and LAPACK are called for each problem, and sums run over one problem's rows: nothing depends on the companions,
bit for bit. Rows of zeros in X and y do no harm. Axes: K problem, N row, R column.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from factor_ray.models.quantile.batched import solve_systems
from factor_ray.models.quantile.certificate import pinball
from factor_ray.models.quantile.vertex import OUTSIDE

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Integers = npt.NDArray[np.intp]

ROUNDING = 64 * np.finfo(np.float64).eps  # of all that is summed: a gap that proves a vertex optimal


@dataclass(frozen=True)
class Candidates:
    """Coefficients of K problems with their residuals and duals, which may prove them optimal."""

    c_KR: Floats
    e_KN: Floats
    d_KN: Floats


@dataclass(frozen=True)
class Vertices:
    """The optima that were found: their coefficients, and objective and gap in units of the sum; else NaN."""

    coefficients_KR: Floats
    objective_K: Floats
    gap_K: Floats

    @classmethod
    def none(cls, problems: int, columns: int) -> Vertices:
        """Nothing found yet."""
        return cls(np.full((problems, columns), np.nan), np.full(problems, np.nan), np.full(problems, np.nan))

    def record(self, places: Integers, found: Vertices, which: Bools) -> None:
        """Keep those of the found vertices that are marked, at these places."""
        chosen = places[which]
        self.coefficients_KR[chosen] = found.coefficients_KR[which]
        self.objective_K[chosen], self.gap_K[chosen] = found.objective_K[which], found.gap_K[which]


def through(Xt_KRN: Floats, y_KN: Floats, rows_KR: Integers, tau: float) -> Candidates:
    """The coefficients that interpolate as many rows, in rising order, as there are columns."""
    problems_K1 = np.arange(len(y_KN))[:, None]
    X_KRR = Xt_KRN[problems_K1 if len(Xt_KRN) > 1 else 0, :, rows_KR]
    c_KR = solve_systems(X_KRR, y_KN[problems_K1, rows_KR])
    e_KN = y_KN - fitted(Xt_KRN, c_KR)
    e_KN[problems_K1, rows_KR] = 0.0
    d_KN = np.where(e_KN > 0.0, tau, tau - 1.0)
    d_KN[problems_K1, rows_KR] = 0.0
    d_KN[problems_K1, rows_KR] = solve_systems(X_KRR.transpose(0, 2, 1), -pulled(Xt_KRN, d_KN))
    return Candidates(c_KR, e_KN, d_KN)


def proven(Xt_KRN: Floats, y_KN: Floats, found: Candidates, tau: float) -> tuple[Vertices, Bools]:
    """The candidates as vertices with objective and gap, and which of them these prove optimal.

    Duals far outside their box prove nothing: once clipped, they leave X'd off zero.
    """
    inside_K = (np.abs(found.d_KN - (tau - 0.5)) <= 0.5 + OUTSIDE).all(axis=1)
    d_KN = np.clip(found.d_KN, tau - 1.0, tau)
    objective_K = pinball(found.e_KN, tau).sum(axis=1)
    leak_K = np.sum(np.abs(found.c_KR * pulled(Xt_KRN, d_KN)), axis=1)
    gap_K = np.maximum(objective_K - dots(y_KN, d_KN) + leak_K, 0.0)
    summed_K = np.abs(y_KN).sum(axis=1) + np.sum(np.abs(found.c_KR) * np.abs(Xt_KRN).sum(axis=2), axis=1)
    return Vertices(found.c_KR, objective_K, gap_K), inside_K & (gap_K <= ROUNDING * summed_K)


def fitted(Xt_KRN: Floats, c_KR: Floats) -> Floats:
    """``Xc``, (K, N)."""
    product: Floats = np.matmul(c_KR[:, None], Xt_KRN)[:, 0]
    return product


def pulled(Xt_KRN: Floats, d_KN: Floats) -> Floats:
    """``X'd``, (K, R)."""
    product: Floats = np.matmul(d_KN[:, None], Xt_KRN.transpose(0, 2, 1))[:, 0]
    return product


def dots(one_KN: Floats, other_KN: Floats) -> Floats:
    """Inner products, (K,)."""
    products: Floats = np.einsum("kn,kn->k", one_KN, other_KN)
    return products
