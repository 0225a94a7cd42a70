"""What is forecast: the excess return of the next h months."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd

from factor_ray.data.panel import Panel
from factor_ray.errors import InputError


def excess_returns(panel: Panel, horizon: int) -> npt.NDArray[np.float32]:
    """Return every row's target: the compounded return of months t+1..t+h less the compounded risk-free rate.

    The first month's return must be there. When an asset's returns end inside the horizon (it was delisted), the
    risk-free rate is earned to the horizon's end; a return that is missing between two others makes the target
    missing. Whether returns resume after the horizon is not looked at, so a target depends on data up to t+h only.
    Without a risk-free column returns are excess returns: they are compounded as they are (exact for h = 1), and the
    rate earned after a delisting is zero. With one, a month in which no row holds a rate makes the targets that span it
    missing.

    Parameters
    ----------
    panel : Panel
    horizon : int
        h, in months, at least 1.

    Returns
    -------
    float32 array (N,)
        In decimals; NaN where unknown, among them the last h months of the panel.
    """
    if horizon < 1:
        raise InputError(f"a horizon must be at least 1 month; got {horizon}")
    codes, _ = pd.factorize(panel.assets)
    first, count = int(panel.months[0]), len(panel.months)
    earned_TA = np.full((count + horizon, int(codes.max()) + 1), np.nan)
    earned_TA[panel.row_months - first, codes] = panel.values("return")
    rate_T = _risk_free_by_month(panel, count + horizon)

    shape = (count, earned_TA.shape[1])
    wealth_TA, safe_T = np.ones(shape), np.ones(count)
    ended_TA, gap_TA = np.zeros(shape, dtype=bool), np.zeros(shape, dtype=bool)
    for ahead in range(1, horizon + 1):
        month_TA = earned_TA[ahead : ahead + count]
        missing_TA = np.isnan(month_TA)
        gap_TA |= ended_TA & ~missing_TA
        if ahead == 1:
            gap_TA |= missing_TA
        ended_TA |= missing_TA
        rate = rate_T[ahead : ahead + count]
        wealth_TA *= 1 + np.where(missing_TA, rate[:, None], month_TA)
        safe_T *= 1 + rate
    target_TA = wealth_TA - safe_T[:, None]
    target_TA[gap_TA] = np.nan
    target_TA[max(count - horizon, 0) :] = np.nan
    return target_TA[panel.row_months - first, codes].astype(np.float32)


def next_returns(panel: Panel) -> npt.NDArray[np.float32]:
    """Return what each row's asset earned in the month after, as the panel states returns; NaN where unknown (N,)."""
    codes, _ = pd.factorize(panel.assets)
    at_N = panel.row_months - panel.months[0]
    earned_TA = np.full((len(panel.months) + 1, int(codes.max()) + 1), np.nan, dtype=np.float32)
    earned_TA[at_N, codes] = panel.values("return")
    return np.asarray(earned_TA[at_N + 1, codes], dtype=np.float32)


def own_excess_returns(panel: Panel) -> npt.NDArray[np.float32]:
    """Return what each row's asset earned in the row's own month, less the risk-free rate; NaN where missing (N,)."""
    rate_T = _risk_free_by_month(panel, len(panel.months))
    return np.asarray(panel.values("return") - rate_T[panel.row_months - panel.months[0]], dtype=np.float32)


def _risk_free_by_month(panel: Panel, count: int) -> npt.NDArray[np.float64]:
    """One rate a month: the mean over the month's rows that hold one, NaN if none does; zero if returns are excess."""
    if not panel.has_risk_free:
        return np.zeros(count)
    rates = panel.values("risk_free").astype(np.float64)
    known = ~np.isnan(rates)
    at = panel.row_months[known] - panel.months[0]
    number_T = np.bincount(at, minlength=count)
    total_T = np.bincount(at, weights=rates[known], minlength=count)
    return np.where(number_T > 0, total_T / np.maximum(number_T, 1), np.nan)
