"""Forecasts that need no model; every table shows them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from factor_ray.data.panel import Panel

FloatArray = npt.NDArray[np.float32]


def trivial_forecasts(panel: Panel, target_N: FloatArray, horizon: int) -> dict[str, FloatArray]:
    """Return the trivial forecasts of every row.

    Parameters
    ----------
    panel : Panel
    target_N : float32 array (N,)
        Excess returns of the next ``horizon`` months, NaN where unknown.
    horizon : int
        In months; the target of month s is known at the end of month s + horizon.

    Returns
    -------
    dict of name to float32 array (N,)
        ``zero``; ``historical_mean``, the pooled mean of all targets known at formation; ``last_value``, the asset's
        own excess return over the ``horizon`` months up to formation. NaN where nothing is known yet.
    """
    return {
        "zero": np.zeros(len(panel), dtype=np.float32),
        "historical_mean": _historical_mean(panel, target_N, horizon),
        "last_value": _last_value(panel, target_N, horizon),
    }


def trivial_quantiles(
    panel: Panel, target_N: FloatArray, horizon: int, taus: Sequence[float], rows: npt.NDArray[np.int64]
) -> dict[str, FloatArray]:
    """Return the quantiles of some rows that need no model.

    Parameters
    ----------
    panel, target_N, horizon
        As in :func:`trivial_forecasts`.
    taus : sequence of float
        The L levels.
    rows : int array (n,)

    Returns
    -------
    dict of name to float32 array (L, n)
        ``zero``; ``historical_quantile``, the pooled quantile of all targets known at formation, NaN where none is.
    """
    at_n, months = pd.factorize(panel.row_months[rows])
    known = np.argsort(target_N)
    known = known[np.isfinite(target_N[known])]
    quantile_LM = np.full((len(taus), len(months)), np.nan, dtype=np.float32)
    for at in np.argsort(-months):  # from the last month on, less and less is known
        known = known[known < panel.rows(int(panel.months[0]), int(months[at]) - horizon).stop]
        if len(known):
            # The least value at which the distribution function reaches tau: it minimises the pinball loss.
            least_L = np.maximum(np.ceil(np.asarray(taus) * len(known)) - 1, 0).astype(np.int64)
            quantile_LM[:, at] = target_N[known[least_L]]
    pooled_Ln = quantile_LM[:, at_n]
    return {"zero": np.zeros_like(pooled_Ln), "historical_quantile": pooled_Ln}


def _historical_mean(panel: Panel, target_N: FloatArray, horizon: int) -> FloatArray:
    known = ~np.isnan(target_N)
    at_N = panel.row_months - panel.months[0]
    number_T = np.bincount(at_N[known], minlength=len(panel.months)).cumsum()
    total_T = np.bincount(at_N[known], weights=target_N[known], minlength=len(panel.months)).cumsum()
    mean_T = np.full(len(panel.months), np.nan)
    seen_T = number_T[: len(mean_T) - horizon] if horizon < len(mean_T) else number_T[:0]
    mean_T[horizon:] = np.divide(total_T[: len(seen_T)], seen_T, out=np.full(len(seen_T), np.nan), where=seen_T > 0)
    return np.asarray(mean_T[at_N], dtype=np.float32)


def _last_value(panel: Panel, target_N: FloatArray, horizon: int) -> FloatArray:
    codes, _ = pd.factorize(panel.assets)
    at_N = panel.row_months - panel.months[0]
    target_TA = np.full((len(panel.months), int(codes.max()) + 1), np.nan, dtype=np.float32)
    target_TA[at_N, codes] = target_N
    found = target_TA[np.maximum(at_N - horizon, 0), codes]
    return np.where(at_N >= horizon, found, np.float32(np.nan)).astype(np.float32)
