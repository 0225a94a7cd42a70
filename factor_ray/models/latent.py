"""What latent-factor models share: realised and expected factors, identification, and forecasts of a fitted member.

A model says its loadings Lambda_t of a month's assets; everything here follows from them. Returns are
r_{t+1} = alpha_t + Lambda_t f_{t+1} + e, where alpha_t is zero but for a model with an intercept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from factor_ray.data.sample import History, Sample
from factor_ray.errors import InputError
from factor_ray.models.base import Description, Prediction

# Axes: N rows of a month, H rows of a history, P characteristics, K factors, T months.

Array = npt.NDArray[np.float64]
OfRows = Callable[[History, slice], npt.NDArray[np.floating[Any]]]
"""Loadings (N, K), or an intercept (N,), of rows of one month, which are the last rows of the history it is given.

It may look back along that history, which holds no targets.
"""
Expected = Literal["mean", "ewma", "ar1"]
FactorForecast = Callable[[Array, int], Array]
"""What is expected (K,) of the factors so many months after the last row of those realised so far (T, K)."""

_RIDGE = 1e-8
_FEWEST_PAIRS = 12  # months with which an autoregression is worth more than a mean


def realised_factors(
    loadings_NK: npt.NDArray[np.floating[Any]], y_N: npt.NDArray[np.floating[Any]], ridge: float = _RIDGE
) -> Array:
    """Return the factors that explain a month's returns best: (Lambda'Lambda + eps I)^-1 Lambda'y, (K,).

    Parameters
    ----------
    loadings_NK, y_N : float arrays
        Rows whose return or loadings are missing are left out.
    ridge : float
        eps over the mean diagonal of Lambda'Lambda.

    Returns
    -------
    float64 array (K,)
        NaN where fewer than K returns are known; 0 where all loadings are.
    """
    known_N = np.isfinite(y_N) & np.isfinite(loadings_NK).all(axis=1)
    loadings_nK, y_n = loadings_NK[known_N].astype(np.float64), y_N[known_N].astype(np.float64)
    count, factors = loadings_nK.shape
    if count < factors:
        return np.full(factors, np.nan)
    gram_KK = loadings_nK.T @ loadings_nK
    scale = np.trace(gram_KK) / factors
    if scale == 0:
        return np.zeros(factors)
    return np.asarray(np.linalg.solve(gram_KK + ridge * scale * np.eye(factors), loadings_nK.T @ y_n))


def left_out_residuals(loadings_NK: npt.NDArray[np.floating[Any]], y_N: npt.NDArray[np.floating[Any]]) -> Array:
    """Return what factors realised from all other assets leave of each asset's return, (N,).

    Factors realised from an asset's own return explain it better than they should: K of them explain a share K / N of
    pure noise, so that the plain total R2 rises with every factor, needless ones included. Without the asset's own
    return it falls once there are more factors than the truth has. ``e_i / (1 - h_i)``, with the leverages h of the
    regression of :func:`realised_factors`.

    Parameters
    ----------
    loadings_NK, y_N : float arrays

    Returns
    -------
    float64 array (N,)
        NaN where the return or the loadings are missing, or where the other assets are too few to realise the factors.
    """
    known_N = np.isfinite(y_N) & np.isfinite(loadings_NK).all(axis=1)
    loadings_nK, y_n = loadings_NK[known_N].astype(np.float64), y_N[known_N].astype(np.float64)
    residual_N = np.full(len(y_N), np.nan)
    if len(y_n) <= loadings_nK.shape[1]:
        return residual_N
    left_nK, strength_K, _ = np.linalg.svd(loadings_nK, full_matrices=False)
    spans_K = strength_K > 1e-10 * strength_K[0] if strength_K[0] > 0 else np.zeros(len(strength_K), dtype=bool)
    basis_nk = left_nK[:, spans_K]
    leverage_n = np.square(basis_nk).sum(axis=1)
    error_n = y_n - basis_nk @ (basis_nk.T @ y_n)
    free_n = 1.0 - leverage_n
    residual_N[known_N] = np.divide(error_n, free_n, out=np.full(len(y_n), np.nan), where=free_n > 1e-9)
    return residual_N


def expected_factors(factors_TK: Array, kind: Expected = "mean", *, half_life: float = 60.0, steps: int = 1) -> Array:
    """Return the expected factors of a later month from those realised so far, (K,).

    Parameters
    ----------
    factors_TK : float64 array (T, K)
        One row for every month in order of time; NaN rows are left out.
    kind : "mean", "ewma" or "ar1"
        Mean of all months; mean with exponentially falling weights; autoregression of each factor on its value
        ``steps`` months earlier, which is the mean where that rests on fewer than 12 pairs or the last month is NaN.
    half_life : float
        Months in which the weight of ``ewma`` halves.
    steps : int
        Months from the last row to the month that is expected.

    Returns
    -------
    float64 array (K,)
        NaN where no month is known.
    """
    known_T = _known_months(factors_TK)
    if not known_T.any():
        return np.full(factors_TK.shape[1], np.nan)
    known_tK = factors_TK[known_T]
    if kind == "ewma":
        age_t = len(factors_TK) - 1 - np.flatnonzero(known_T)
        weight_t = 0.5 ** ((age_t - age_t[-1]) / half_life)
        return np.asarray(weight_t @ known_tK / weight_t.sum())
    mean_K = np.asarray(known_tK.mean(axis=0))
    if kind == "mean" or not known_T[-1]:
        return mean_K
    pair_T = known_T[:-steps] & known_T[steps:]
    if pair_T.sum() < _FEWEST_PAIRS:
        return mean_K
    before_tK, after_tK = factors_TK[:-steps][pair_T], factors_TK[steps:][pair_T]
    apart_tK = before_tK - before_tK.mean(axis=0)
    variation_K = np.square(apart_tK).sum(axis=0)
    covariation_K = (apart_tK * after_tK).sum(axis=0)
    slope_K = np.divide(covariation_K, variation_K, out=np.zeros_like(mean_K), where=variation_K > 0)
    return np.asarray(after_tK.mean(axis=0) + slope_K * (factors_TK[-1] - before_tK.mean(axis=0)))


def identification(gamma_PK: Array, factors_TK: Array) -> Array:
    """Return the rotation R that identifies a factor model: factors F R, loadings Lambda R^-T, products unchanged.

    Afterwards Gamma'Gamma = I, the factors' covariance is diagonal with falling variances and their means are positive.

    Parameters
    ----------
    gamma_PK : float64 array (P, K)
        Of rank K: coefficients of the loadings on the characteristics.
    factors_TK : float64 array (T, K)
        NaN rows are left out.

    Returns
    -------
    float64 array (K, K)

    Notes
    -----
    Kelly, Pruitt and Su (2019), section 2.2; they diagonalise the second moment in place of the covariance.
    """
    factors_tK = factors_TK[_known_months(factors_TK)]
    gram_KK = gamma_PK.T @ gamma_PK
    # A direction that Gamma lacks has no length to normalise: the floor keeps R invertible.
    floor = 1e-14 * max(float(np.trace(gram_KK)), np.finfo(np.float64).tiny)
    lower_KK = np.linalg.cholesky(gram_KK + floor * np.eye(len(gram_KK)))
    first_tK = factors_tK @ lower_KK
    apart_tK = first_tK - first_tK.mean(axis=0)
    _, vectors_KK = np.linalg.eigh(apart_tK.T @ apart_tK)
    rotation_KK = lower_KK @ vectors_KK[:, ::-1]
    mean_K = (factors_tK @ rotation_KK).mean(axis=0)
    return np.asarray(rotation_KK * np.where(mean_K < 0, -1.0, 1.0))


def rotate_loadings(loadings_NK: Array, rotation_KK: Array) -> Array:
    """Return loadings, or Gamma, of the identified factors F R: Lambda R^-T."""
    return np.asarray(np.linalg.solve(rotation_KK, loadings_NK.T).T)


def _known_months(factors_TK: Array) -> npt.NDArray[np.bool_]:
    return np.asarray(np.isfinite(factors_TK).all(axis=1))


def trained_months(months: npt.NDArray[np.int64], train: Sample) -> dict[str, Array]:
    """Return the weights by which months of training are known again in another panel."""
    return {"months": months.astype(np.float64), "first": np.array([history_of(train).first], dtype=np.float64)}


def total_loss_ratio(loadings: OfRows, sample: Sample, intercept: OfRows | None = None) -> float:
    """Return the loss of the total fit of a sample's known targets over that of zero; months without factors fit 0."""
    history = history_of(sample)
    before, squares, errors = len(history) - len(sample), 0.0, 0.0
    for _, rows in months_of(sample.month_N):
        there = slice(rows.start + before, rows.stop + before)
        y_N = sample.y_N[rows].astype(np.float64)
        fit_N = _Rows.of(history, there, loadings, intercept).total(y_N)
        known_N = np.isfinite(y_N)
        squares += float(np.square(y_N[known_N]).sum())
        errors += float(np.square(y_N - np.where(np.isnan(fit_N), 0.0, fit_N))[known_N].sum())
    return errors / squares if squares else float("nan")


def left_out_loss_ratio(loadings: OfRows, sample: Sample, intercept: OfRows | None = None) -> float:
    """Return the loss of :func:`left_out_residuals` over that of zero: what numbers of factors are compared by."""
    history = history_of(sample)
    before, squares, errors = len(history) - len(sample), 0.0, 0.0
    for _, rows in months_of(sample.month_N):
        there = slice(rows.start + before, rows.stop + before)
        month, y_N = _Rows.of(history, there, loadings, intercept), sample.y_N[rows].astype(np.float64)
        residual_N = left_out_residuals(month.loadings_NK, y_N if month.alpha_N is None else y_N - month.alpha_N)
        known_N = np.isfinite(y_N)
        squares += float(np.square(y_N[known_N]).sum())
        errors += float(np.square(np.where(np.isnan(residual_N), y_N, residual_N))[known_N].sum())
    return errors / squares if squares else float("nan")


def realised_months(
    loadings: OfRows, history: History, intercept: OfRows | None = None
) -> tuple[npt.NDArray[np.int64], Array]:
    """Return the months of a history (T,) and the factors realised in each from its known targets (T, K)."""
    found = [
        (month, _Rows.of(history, rows, loadings, intercept).realised(history.y_H[rows]))
        for month, rows in months_of(history.month_H)
    ]
    return np.array([month for month, _ in found], dtype=np.int64), np.stack([factors for _, factors in found])


class LatentFitted:
    """One fitted member of a latent-factor model.

    A forecast is Lambda_t m_t, where m_t is expected from the factors of training and of every later month whose
    targets are known at the end of t, realised with the frozen loadings. The total fit of a month is Lambda_t f_{t+1}
    with f_{t+1} realised from the month's own targets.

    Parameters
    ----------
    loadings : callable
        Loadings (N, K) of rows of one month: see `OfRows`.
    months : int array (T,)
        The months of training that have rows, as the samples of the fit counted them.
    factors : float array (T, K)
        Their realised factors; NaN where there are none.
    gamma : float array (K, P)
        What describes the factors: their coefficients on the characteristics.
    first : int
        The window's first month, counted as ``months``; it may have no rows.
    intercept : callable, optional
        The part alpha_t (N,) of the expected return that no factor pays for.
    expected : "mean", "ewma", "ar1" or callable
        See :func:`expected_factors`; or a forecast of the model's own.
    """

    def __init__(
        self,
        loadings: OfRows,
        months: npt.NDArray[Any],
        factors: npt.NDArray[np.floating[Any]],
        gamma: npt.NDArray[np.floating[Any]],
        *,
        first: int,
        intercept: OfRows | None = None,
        expected: Expected | FactorForecast = "mean",
    ) -> None:
        self._loadings, self._intercept, self._expected = loadings, intercept, expected
        self._months, self._first = np.asarray(months, dtype=np.int64), first
        self._factors_TK = np.asarray(factors, dtype=np.float64)
        self._gamma_KP = np.asarray(gamma, dtype=np.float64)
        self._realised: dict[int, Array] = {}

    def forecast(self, month: Sample) -> Prediction:
        """Forecast the rows of one month."""
        history = history_of(month)
        known_TK, steps = self._known(history, int(month.month_N[0]))
        if callable(self._expected):
            m_K = self._expected(known_TK, steps)
        else:
            m_K = expected_factors(known_TK, self._expected, steps=steps)
        return Prediction(self._own(month, history).fit(m_K).astype(np.float32))

    def total(self, month: Sample) -> npt.NDArray[np.float32]:
        """Return the fit of a month's own returns, (N,); NaN where fewer than K of them are known."""
        return self._own(month, history_of(month)).total(month.y_N).astype(np.float32)

    def loadings(self, month: Sample) -> npt.NDArray[np.float32]:
        """Return the loadings of the rows of one month, (N, K)."""
        return self._own(month, history_of(month)).loadings_NK.astype(np.float32)

    def describe(self) -> Description:
        """Return training months, their factors and the factors' coefficients on the characteristics."""
        return Description(self._months, self._factors_TK, self._gamma_KP)

    def _own(self, month: Sample, history: History) -> _Rows:
        return _Rows.of(history, slice(len(history) - len(month), len(history)), self._loadings, self._intercept)

    def _known(self, history: History, month: int) -> tuple[Array, int]:
        """Factors of all months from the first of training to the last known (T, K), and months from there on."""
        # Another panel counts months from another first one; the window's first month is the same in both.
        first, trained = history.first, self._months - self._first
        known = dict(zip(trained.tolist(), self._factors_TK, strict=True))
        start = int(np.searchsorted(history.month_H, first + trained[-1], side="right"))
        for later, rows in months_of(history.month_H[start:]):
            there, at = slice(rows.start + start, rows.stop + start), later - first
            y_N = history.y_H[there]
            if not np.isfinite(y_N).any():
                continue
            if at not in self._realised:
                self._realised[at] = _Rows.of(history, there, self._loadings, self._intercept).realised(y_N)
            known[at] = self._realised[at]
        known_TK = np.full((max(known) + 1, self._factors_TK.shape[1]), np.nan)
        known_TK[list(known)] = list(known.values())
        return known_TK, max(month - first - max(known), 1)


def history_of(sample: Sample) -> History:
    """Return a sample's history.

    Raises
    ------
    InputError
        If it has none.
    """
    if sample.history is None:
        raise InputError("a factor model needs samples with a history; got one without: cut it by WindowView")
    return sample.history


def months_of(month_N: npt.NDArray[np.integer[Any]]) -> Iterator[tuple[int, slice]]:
    """Yield the months of sorted rows, in order of time, and where their rows are."""
    bounds = np.flatnonzero(np.diff(month_N, prepend=month_N[:1] - 1, append=month_N[-1:] + 1))
    for start, stop in pairwise(bounds):
        yield int(month_N[start]), slice(int(start), int(stop))


@dataclass(frozen=True)
class _Rows:
    """Loadings and intercept of one month's rows."""

    loadings_NK: Array
    alpha_N: Array | None

    @classmethod
    def of(cls, history: History, rows: slice, loadings: OfRows, intercept: OfRows | None) -> _Rows:
        """Ask for both with a history that ends with the rows: a month's loadings are the same whoever asks."""
        end = rows.stop
        seen = History(
            x_HP=history.x_HP[:end],
            month_H=history.month_H[:end],
            asset_H=history.asset_H[:end],
            r_H=history.r_H[:end],
            y_H=np.broadcast_to(np.float32(np.nan), end),
            f_TF=history.f_TF[: int(history.month_H[end - 1]) + 1],
            first=history.first,
        )
        alpha_N = None if intercept is None else np.asarray(intercept(seen, rows), dtype=np.float64)
        return cls(np.asarray(loadings(seen, rows), dtype=np.float64), alpha_N)

    def realised(self, y_N: npt.NDArray[np.floating[Any]]) -> Array:
        return realised_factors(self.loadings_NK, y_N if self.alpha_N is None else y_N - self.alpha_N)

    def total(self, y_N: npt.NDArray[np.floating[Any]]) -> Array:
        return self.fit(self.realised(y_N))

    def fit(self, factors_K: Array) -> Array:
        fit_N = self.loadings_NK @ factors_K
        return fit_N if self.alpha_N is None else fit_N + self.alpha_N
