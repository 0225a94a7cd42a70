"""Quantile regression of each asset's returns on observed factors. Axes: T month, S some of them, N asset, R factor."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from factor_ray.errors import InputError
from factor_ray.models.quantile.small import small_quantile_regressions

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class RollingQuantiles:
    """Quantiles of each month after the first window, from loadings of the window that ends the month before.

    Attributes
    ----------
    months : int array (S,)
        Which of the T months.
    total : array (S, N)
        With the month's own factors: a fit to that month, no forecast. NaN for assets with too few returns before.
    predictive : array (S, N)
        With the mean of the window's factors.
    """

    months: npt.NDArray[np.int64]
    total: Floats
    predictive: Floats


def observed_factor_loadings(
    y: npt.ArrayLike, factors: npt.ArrayLike, tau: float, *, least: int, intercept: bool = False
) -> Floats:
    """Quantile regression of every asset on factors that are observed.

    Parameters
    ----------
    y : array (T, N)
        Returns; missing ones (NaN) are left out.
    factors : array (T, R)
        Factor returns of the same months.
    tau : float
        Level, in (0, 1).
    least : int
        Returns an asset needs, no fewer than its coefficients; others get NaN.
    intercept : bool
        Whether a constant is the first regressor.

    Returns
    -------
    array (N, R), or (N, 1 + R) with an intercept

    Raises
    ------
    InputError
        If the two differ in their months, a factor is missing, tau is not in (0, 1), or least is below the number of
        coefficients.
    """
    y_TN, X_TR = _matrices(y, factors, intercept)
    if least < X_TR.shape[1]:
        raise InputError(f"least must be no fewer than the {X_TR.shape[1]} coefficients of an asset; got {least}")
    loadings_NR = np.full((y_TN.shape[1], X_TR.shape[1]), np.nan)
    there_TN = ~np.isnan(y_TN)
    enough_N = there_TN.sum(axis=0) >= least
    fits = small_quantile_regressions(X_TR, y_TN.T[enough_N], tau, there_TN.T[enough_N])
    loadings_NR[enough_N] = fits.coefficients
    return loadings_NR


def rolling_observed(
    y: npt.ArrayLike, factors: npt.ArrayLike, tau: float, *, window: int = 36, least: int = 24, intercept: bool = False
) -> RollingQuantiles:
    """Fit assets in rolling windows and apply their loadings to the month that follows.

    Parameters
    ----------
    y, factors, tau, intercept
        As in :func:`observed_factor_loadings`.
    window : int
        Months of a window.
    least : int
        Returns an asset needs in a window; one that has fewer has no quantile in the month that follows.

    Raises
    ------
    InputError
        As :func:`observed_factor_loadings`, or if the window is not shorter than the sample.
    """
    y_TN, X_TR = _matrices(y, factors, intercept)
    if not least <= window < len(y_TN):
        raise InputError(
            f"window must lie between least = {least} and {len(y_TN) - 1}, one less than the months; got {window}"
        )
    months = np.arange(window, len(y_TN))
    total_SN, predictive_SN = np.empty((2, len(months), y_TN.shape[1]))
    for place, month in enumerate(months):
        past = slice(month - window, month)
        loadings_NR = observed_factor_loadings(y_TN[past], X_TR[past], tau, least=least)
        total_SN[place] = loadings_NR @ X_TR[month]
        predictive_SN[place] = loadings_NR @ X_TR[past].mean(axis=0)
    return RollingQuantiles(months, total_SN, predictive_SN)


def factors_ahead(f_TR: Floats, months_S: npt.NDArray[np.int64], horizon: int) -> Floats:
    """Return the factor returns of the months that a target covers: t + 1 to t + h, compounded.

    Parameters
    ----------
    f_TR : float64 array (T, R)
        Factor returns of months 0 to T - 1. With h = 1 they are taken as they stand, levels that are no returns too.
    months_S : int array (S,)
        Months t, from -1 on.
    horizon : int
        h, in months.

    Returns
    -------
    float64 array (S, R)
        NaN where a month is not known.
    """
    ahead_SH = months_S[:, None] + np.arange(1, horizon + 1)
    there_SH = ahead_SH < len(f_TR)
    f_SHR = np.where(there_SH[..., None], f_TR[np.minimum(ahead_SH, len(f_TR) - 1)], np.nan)
    return np.asarray(f_SHR[:, 0] if horizon == 1 else np.prod(1.0 + f_SHR, axis=1) - 1.0)


def _matrices(y: npt.ArrayLike, factors: npt.ArrayLike, intercept: bool) -> tuple[Floats, Floats]:
    y_TN, X_TR = np.asarray(y, dtype=np.float64), np.asarray(factors, dtype=np.float64)
    if y_TN.ndim != 2 or X_TR.ndim != 2 or len(y_TN) != len(X_TR):
        raise InputError(
            f"y must be months x assets and factors the same months x factors; got {y_TN.shape} and {X_TR.shape}"
        )
    if not np.isfinite(X_TR).all():
        raise InputError(
            f"Observed factors must be finite in every month; {int(np.sum(~np.isfinite(X_TR)))} values are not: drop "
            "those months of factors and returns"
        )
    return y_TN, np.column_stack([np.ones(len(X_TR)), X_TR]) if intercept else X_TR
