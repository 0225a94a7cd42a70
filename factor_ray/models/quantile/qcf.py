"""QCF: the quantile factor model with observed characteristics, for one level, on a list of months.

    Q_tau(Y_it | x_it) = sum over k of g_k(x_it'theta_k) f_tk,   g_k(w) = sum over j of b_kj h_j(w)

estimated in three steps (spec of QCF, estimation): every month's penalised quantile regression on the Hermite sieve by
itself; the singular value decomposition of the months' coefficients; the index and the loading function of each factor.

Axes: T month, N asset, P term of the sieve, R factor, D characteristic, J degree (0 to m - 1).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from factor_ray.errors import InputError
from factor_ray.models.quantile.hermite import (
    basis_size,
    degree_slices,
    hermite_basis,
    index_coefficients,
)
from factor_ray.models.quantile.loading_functions import index_loadings
from factor_ray.models.quantile.single_index import Recovery, recover_indices
from factor_ray.models.quantile.small import ragged_quantile_regressions
from factor_ray.models.quantile.solver import quantile_regressions

_DECOMPOSED_AT_ONCE = 64  # windows: their coefficients are copied side by side
_WEAKEST = 1e-3  # singular value, of the largest: products of rows leave ten digits of its vectors

Floats = npt.NDArray[np.float64]
Month = tuple[npt.ArrayLike, npt.ArrayLike]


@dataclass(frozen=True)
class QuantileFactors:
    """An estimated model of one quantile level.

    Factors come in falling order of ``||beta_k||``, each with the sign that makes its mean over the months positive,
    and ``F'F / T = I``.

    Attributes
    ----------
    tau : float
        Level.
    factors : array (T, R)
        f_tk, one row for each month of estimation.
    betas : array (R, P)
        Sieve coefficients of the factors, mutually orthogonal.
    thetas : array (R, D)
        Index coefficients, each row of unit length with a positive first element.
    loading_coefficients : array (R, J)
        b_kj, in units of y.
    """

    tau: float
    factors: Floats
    betas: Floats
    thetas: Floats
    loading_coefficients: Floats

    def keep(self, factors: int) -> QuantileFactors:
        """The same model with its first factors only; nothing has to be estimated again.

        Raises
        ------
        InputError
            If factors is not between 1 and R.
        """
        if not 1 <= factors <= len(self.betas):
            raise InputError(f"factors must lie between 1 and the {len(self.betas)} estimated; got {factors}")
        return replace(
            self,
            factors=self.factors[:, :factors],
            betas=self.betas[:factors],
            thetas=self.thetas[:factors],
            loading_coefficients=self.loading_coefficients[:factors],
        )

    def loadings(self, x: npt.ArrayLike) -> Floats:
        """g_k(x_i'theta_k) of assets with characteristics x (N, D), as an (N, R) array.

        Raises
        ------
        InputError
            If x has not D columns.
        """
        x_ND = np.asarray(x, dtype=np.float64)
        if x_ND.ndim != 2 or x_ND.shape[1] != self.thetas.shape[1]:
            raise InputError(f"Characteristics must be assets x {self.thetas.shape[1]}; got shape {x_ND.shape}")
        xt_DN, bounds = np.ascontiguousarray(x_ND.T), np.array([0, len(x_ND)])
        return index_loadings(xt_DN, bounds, self.thetas[None], self.loading_coefficients[None]).T

    def of_index(self) -> Floats:
        """What of the betas one index for each factor explains, (R, P): ``b_kj a_j(theta_k)`` in the terms of degree j.

        Found by the projection, it is the part nearest to beta_k: the rest is orthogonal to it.
        """
        order = self.loading_coefficients.shape[1]
        of_index_RP = index_coefficients(self.thetas, order)
        for degree, place in enumerate(degree_slices(self.thetas.shape[1], order)):
            of_index_RP[:, place] *= self.loading_coefficients[:, degree, None]
        return of_index_RP

    def in_sample(self, x: npt.ArrayLike, month: int) -> Floats:
        """Quantiles (N,) in a month of estimation, with that month's factors of step 2: a fit, not a forecast.

        Their level is step 1's: a large ridge shrinks it, and with a small ridge a share of up to about P / N too many
        returns lies beyond them in a tail. :meth:`total` refits the factors and has neither error.
        """
        return np.asarray(self.loadings(x) @ self.factors[month], dtype=np.float64)

    def predictive(self, x: npt.ArrayLike) -> Floats:
        """Forecast of the quantiles (N,) of a later month: its factors are expected at their mean over the months."""
        return np.asarray(self.loadings(x) @ self.factors.mean(axis=0), dtype=np.float64)

    def total(self, x: npt.ArrayLike, y: npt.ArrayLike) -> Floats:
        """Quantiles (N,) of a later month with factors fitted to its own returns y: a fit to that month, no forecast.

        The factors are the plain quantile regression of y on the loadings.

        Raises
        ------
        InputError
            If x or y is unusable, or there are fewer assets than factors.
        """
        return total_quantiles([self], [(x, y)])[0]


def total_quantiles(models: Sequence[QuantileFactors], months: Sequence[Month]) -> list[Floats]:
    """:meth:`QuantileFactors.total` of many months at once, each with its own model; the same bits.

    Parameters
    ----------
    models : sequence of QuantileFactors
        One for each month, all of one level and with as many factors.
    months : sequence of (x, y)
        Characteristics and returns.

    Raises
    ------
    InputError
        If there are no months or not as many as models, models differ in their level or number of factors, or a month
        cannot be used.
    """
    kinds = {(model.tau, len(model.betas)) for model in models}
    if len(kinds) != 1 or len(models) != len(months):
        raise InputError(
            f"Months need one model each, of one level and number of factors; got {len(months)} months and "
            f"{len(models)} models of (level, factors) {sorted(kinds)}"
        )
    g = [model.loadings(x) for model, (x, _) in zip(models, months, strict=True)]
    problems = [(g_NR, y) for g_NR, (_, y) in zip(g, months, strict=True)]
    realised_TR = ragged_quantile_regressions(problems, models[0].tau).coefficients
    return [np.asarray(g_NR @ f_R, dtype=np.float64) for g_NR, f_R in zip(g, realised_TR, strict=True)]


def fit_quantile_factors(
    months: Sequence[Month],
    tau: float,
    factors: int,
    order: int,
    ridge: float,
    *,
    rule: Recovery = "projection",
    penalise_constant: bool = False,
) -> QuantileFactors:
    """Estimate the model on months of any sizes.

    Parameters
    ----------
    months : sequence of (x, y)
        Characteristics (N_t, D), standardised, and returns (N_t,) of each month.
    tau : float
        Level, in (0, 1).
    factors : int
        R, at most the number of months and of terms. :meth:`QuantileFactors.keep` gives smaller ones.
    order : int
        m: 2 for linear loading functions, 3 for quadratic ones.
    ridge : float
        Penalty of step 1; 0 needs as many assets as terms in every month.
    rule : "projection" or "pure_powers"
        How step 3 finds the index; see :func:`recover_indices`.
    penalise_constant : bool
        Whether the ridge penalises the constant term as well.

    Raises
    ------
    InputError
        If a month cannot be used, tau or ridge is out of range, order is below 2, or factors are too many.
    """
    coefficients_TP = monthly_coefficients(months, tau, order, ridge, penalise_constant=penalise_constant)
    characteristics = np.shape(months[0][0])[1]
    return factors_from_coefficients(coefficients_TP, tau, factors, characteristics, order, rule=rule)


def monthly_coefficients(
    months: Sequence[Month], tau: float, order: int, ridge: float, *, penalise_constant: bool = False
) -> Floats:
    """Step 1: c_t of every month, (T, P). A month's coefficients depend on no other month.

    Raises
    ------
    InputError
        If there are no months, these differ in their characteristics, or one cannot be fitted.
    """
    if not months:
        raise InputError("A quantile factor model needs at least one month; got none")
    widths = {np.shape(x)[1:] for x, _ in months}
    if len(widths) > 1:
        raise InputError(f"All months must have the same characteristics; got shapes {sorted(widths)} after the assets")
    problems = ((hermite_basis(x, order), y) for x, y in months)
    fits = quantile_regressions(problems, [tau], [ridge], () if penalise_constant else (0,))
    return np.array([fit.coefficients for month in fits for fit in month.values()])


def factors_from_coefficients(
    coefficients_TP: npt.ArrayLike,
    tau: float,
    factors: int,
    characteristics: int,
    order: int,
    *,
    rule: Recovery = "projection",
) -> QuantileFactors:
    """Steps 2 and 3: ``F = sqrt(T) U_r`` and ``B = C'F / T``, then each factor's index and loading function.

    Parameters
    ----------
    coefficients_TP : array (T, P)
        Step 1's coefficients of the window's months.
    tau, factors, characteristics, order, rule
        As in :func:`fit_quantile_factors`; ``P = basis_size(characteristics, order)``.

    Raises
    ------
    InputError
        If the sizes do not agree, or there are more factors than months or terms.
    """
    window = (0, len(np.asarray(coefficients_TP)))
    return window_models(coefficients_TP, [window], tau, factors, characteristics, order, rule)[0]


def window_models(
    coefficients_TP: npt.ArrayLike,
    windows: Sequence[tuple[int, int]],
    tau: float,
    factors: int,
    characteristics: int,
    order: int,
    rule: Recovery = "projection",
) -> list[QuantileFactors]:
    """Steps 2 and 3 for many windows of one sample; each model is what the window gives alone, bit for bit.

    Parameters
    ----------
    coefficients_TP : array (T, P)
        Step 1's coefficients of all months.
    windows : sequence of (first, stop)
        Positions of each window's first month and of the month after its last.
    tau, factors, characteristics, order, rule
        As in :func:`factors_from_coefficients`.

    Raises
    ------
    InputError
        If the sizes do not agree, a window leaves the sample, or there are more factors than months or terms.
    """
    C_TP = np.asarray(coefficients_TP, dtype=np.float64)
    size = basis_size(characteristics, order)
    if C_TP.ndim != 2 or C_TP.shape[1] != size:
        raise InputError(
            f"Coefficients must be months x {size} terms for {characteristics} characteristics and order {order}; got "
            f"shape {C_TP.shape}"
        )
    for first, stop in windows:
        if not 0 <= first <= stop <= len(C_TP):
            raise InputError(f"Windows must lie within the {len(C_TP)} months; got one from {first} to before {stop}")
        if not 1 <= factors <= min(stop - first, size):
            raise InputError(
                f"factors must lie between 1 and the smaller of {stop - first} months and {size} terms; got {factors}: "
                f"use fewer factors or more months"
            )
    if not windows:
        return []
    F, B_WRP = _factors_and_betas(C_TP, windows, factors)
    thetas_KD, b_KJ = recover_indices(B_WRP.reshape(-1, size), characteristics, order, rule)
    thetas_WRD, b_WRJ = thetas_KD.reshape(len(windows), factors, -1), b_KJ.reshape(len(windows), factors, -1)
    return [QuantileFactors(tau, *parts) for parts in zip(F, B_WRP, thetas_WRD, b_WRJ, strict=True)]


def _factors_and_betas(C_TP: Floats, windows: Sequence[tuple[int, int]], factors: int) -> tuple[list[Floats], Floats]:
    """Step 2: each window's factors, and their coefficients (W, R, P). Windows of one length are decomposed at once."""
    F: list[Floats] = [np.empty(0)] * len(windows)
    B_WRP = np.empty((len(windows), factors, C_TP.shape[1]))
    length_W = np.array([stop - first for first, stop in windows])
    for length in np.unique(length_W).tolist():
        alike = np.flatnonzero(length_W == length)
        for some in np.array_split(alike, -(-len(alike) // _DECOMPOSED_AT_ONCE)):
            first_W = np.array([windows[w][0] for w in some])
            C_WTP = C_TP[first_W[:, None] + np.arange(length)]
            left_WTR = _left_vectors(C_WTP, factors)
            sign_WR = np.where(left_WTR.mean(axis=1) < 0.0, -1.0, 1.0)
            F_WTR = np.sqrt(length) * left_WTR * sign_WR[:, None]
            for k in range(factors):  # one by one: together, their number would change last bits
                B_WRP[some, k] = (F_WTR[:, None, :, k] @ C_WTP)[:, 0] / length
            for w, F_TR in zip(some.tolist(), F_WTR, strict=True):
                F[w] = F_TR
    return F, B_WRP


def _left_vectors(C_WTP: Floats, factors: int) -> Floats:
    """The first left singular vectors of each matrix, (W, T, R); how many are asked for changes no bit of the others.

    They are found from the products of its rows, or of its columns where these are fewer, in half the time of a
    decomposition. That loses as many digits as the squared ratio of the singular values has: vectors of factors that
    are too weak beside the strongest are those of the decomposition.
    """
    tall = C_WTP.shape[1] > C_WTP.shape[2]
    squared, vectors = np.linalg.eigh(C_WTP.mT @ C_WTP if tall else C_WTP @ C_WTP.mT)
    squared_WR = squared[:, : -factors - 1 : -1]
    weak_WR = ~(squared_WR > _WEAKEST**2 * squared[:, -1:])
    left_WTR = np.empty((*C_WTP.shape[:2], factors))
    for k in range(factors):
        vector_W = vectors[:, :, -1 - k, None]
        if tall:
            length_W = np.sqrt(np.where(weak_WR[:, k], 1.0, squared_WR[:, k]))
            vector_W = C_WTP @ vector_W / length_W[:, None, None]
        left_WTR[:, :, k] = vector_W[:, :, 0]
    some_W = weak_WR.any(axis=1)
    if some_W.any():
        decomposed_wTR = np.linalg.svd(C_WTP[some_W], full_matrices=False)[0][:, :, :factors]
        left_WTR[some_W] = np.where(weak_WR[some_W][:, None], decomposed_wTR, left_WTR[some_W])
    return left_WTR
