"""Many forecasts of the same returns compared: each against the best, and the set that may hold the best."""

from __future__ import annotations

import numpy as np
import pandas as pd

from factor_ray.errors import InputError
from factor_ray.evaluation.newey_west import mean_test

_LEAST_MONTHS = 12  # fewer hold nothing that a bootstrap of blocks could draw from


def compare_losses(
    losses: pd.DataFrame, *, horizon: int, size: float = 0.1, repetitions: int = 1000, seed: int = 0
) -> pd.DataFrame:
    """Compare models by their monthly losses: Diebold-Mariano against the best, and the model confidence set.

    Parameters
    ----------
    losses : DataFrame, shape (T, M)
        Mean loss of each month (rows, in time order) and model (columns), all over the same assets of a month.
    horizon : int
        Months h of the forecasts: losses overlap for h - 1 months, which are the lags of the standard errors; blocks of
        the bootstrap are 2 h months long on average, at least 6 and at most a quarter of the sample.
    size : float
        The set holds the best model with probability 1 - size.
    repetitions, seed : int
        Of the stationary bootstrap.

    Returns
    -------
    DataFrame
        Indexed by model: ``mean_loss``; ``relative_rmse``, the root of the mean loss over that of the best;
        ``dm_t_statistic`` and ``dm_p_value``, two-sided, of the loss less the best's (positive is worse; NaN for the
        best itself and where losses are the same); ``mcs_p_value`` and ``in_confidence_set``, NaN and missing with
        fewer than 12 months or one model; ``months``.

    Raises
    ------
    InputError
        If there are no models or months, or a loss is missing.

    References
    ----------
    Diebold and Mariano (1995, Journal of Business and Economic Statistics); Hansen, Lunde and Nason (2011,
    Econometrica), the range statistic, computed by ``arch``.
    """
    if losses.empty or losses.isna().to_numpy().any():
        raise InputError(
            f"losses must be months x models without missing values; got shape {losses.shape} with "
            f"{int(losses.isna().to_numpy().sum())} missing: keep the months that all models forecast"
        )
    mean = losses.mean()
    best = str(mean.idxmin())
    tests = {name: mean_test(losses[name] - losses[best], horizon - 1) for name in losses}
    p_values = _confidence_set(losses, horizon, size, repetitions, seed)
    return pd.DataFrame(
        {
            "mean_loss": mean,
            "relative_rmse": np.sqrt(mean / mean[best]),
            "dm_t_statistic": pd.Series({name: test.t_statistic for name, test in tests.items()}),
            "dm_p_value": pd.Series({name: test.p_value for name, test in tests.items()}),
            "mcs_p_value": p_values,
            "in_confidence_set": (p_values > size).where(p_values.notna()),
            "months": len(losses),
        }
    ).rename_axis("model")


def _confidence_set(losses: pd.DataFrame, horizon: int, size: float, repetitions: int, seed: int) -> pd.Series:
    if len(losses) < _LEAST_MONTHS or losses.shape[1] < 2:
        return pd.Series(np.nan, index=losses.columns)
    from arch.bootstrap import MCS

    # Models with the very same losses are one: the test would divide by a variance of zero.
    same = {name: next(one for one in losses if bool((losses[name] == losses[one]).all())) for name in losses}
    distinct = losses[list(dict.fromkeys(same.values()))]
    if distinct.shape[1] < 2:
        return pd.Series(np.nan, index=losses.columns)
    block = int(min(max(2 * horizon, 6), len(losses) // 4))
    test = MCS(distinct, size, reps=repetitions, block_size=block, method="R", bootstrap="stationary", seed=seed)
    test.compute()
    found = test.pvalues["Pvalue"].to_dict()
    return pd.Series({name: float(found[same[name]]) for name in losses})
