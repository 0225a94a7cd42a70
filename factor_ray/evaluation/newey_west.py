"""Tests of a monthly series' mean when its months are not independent."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from statsmodels.regression.linear_model import OLS


@dataclass(frozen=True)
class MeanTest:
    """The mean of a series and the evidence against its being zero.

    Attributes
    ----------
    mean : float
        In the units of the series; NaN for an empty one.
    t_statistic : float
        Mean over its Newey-West standard error; NaN where fewer than two months or no variation leave none.
    p_value : float
        Two-sided, standard normal.
    months : int
        Length of the series without its missing values.
    """

    mean: float
    t_statistic: float
    p_value: float
    months: int


def mean_test(values: npt.ArrayLike, lags: int | None = None) -> MeanTest:
    """Test a zero mean with Newey-West (Bartlett) standard errors.

    The variance is scaled by n / (n - 1), so that ``lags=0`` is the plain t-statistic, mean / (sd / sqrt(n)).

    Parameters
    ----------
    values : array-like of float, shape (T,)
        A monthly series in time order; missing values are dropped and the rest taken as adjacent.
    lags : int, optional
        Autocovariances to include, at most T - 1. Monthly averages of h-month returns overlap: give h - 1. The default
        is Newey and West's rule of thumb, floor(4 (T / 100)^(2/9)).

    References
    ----------
    Newey and West (1987, Econometrica; 1994, Review of Economic Studies).
    """
    series = np.asarray(values, dtype=np.float64)
    series = series[~np.isnan(series)]
    months = len(series)
    mean = float(series.mean()) if months else float("nan")
    if not varies(series):
        return MeanTest(mean, float("nan"), float("nan"), months)
    if lags is None:
        lags = int(4 * (months / 100) ** (2 / 9))
    fit = OLS(series, np.ones(months)).fit(
        cov_type="HAC", cov_kwds={"maxlags": min(lags, months - 1), "use_correction": True}
    )
    return MeanTest(mean, float(fit.tvalues[0]), float(fit.pvalues[0]), months)


def varies(series: npt.NDArray[np.floating[Any]]) -> bool:
    """Tell whether a series has two values that differ by more than rounding."""
    return len(series) > 1 and float(np.std(series)) > 1e-14 * float(np.max(np.abs(series)))
