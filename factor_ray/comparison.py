"""The forecasts of one horizon compared on the rows that all of them have."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from factor_ray.data.panel import Panel
from factor_ray.evaluation import compare_losses
from factor_ray.evaluation.quantiles import pinball
from factor_ray.tables import Forecast

FloatArray = npt.NDArray[np.float32]


def compare_forecasts(
    panel: Panel, forecasts: Sequence[Forecast], target_N: FloatArray, horizon: int
) -> dict[str, dict[str, Any]]:
    """Return each model's place among all: relative RMSE, Diebold-Mariano against the best, model confidence set.

    Squared errors are averaged over the assets of a month that every model forecasts and whose return is known.

    Parameters
    ----------
    panel : Panel
        Prepared.
    forecasts : sequence of Forecast
        Of mean returns over the same rows, one a model; variants of one model each count.
    target_N : float32 array (N,)
    horizon : int

    Returns
    -------
    dict of model to dict
        The columns of :func:`factor_ray.evaluation.compare_losses`, ``observations``, and ``best``, the best model's
        name. Empty where fewer than two models share a row.
    """
    common = _common(forecasts, target_N)
    if common is None:
        return {}
    values_MN, target_n, rows = common
    compared = _compared(panel, forecasts, (values_MN - target_n) ** 2, rows, horizon)
    return {name: {**row, "observations": len(rows)} for name, row in compared.items()}


def compare_quantiles(
    panel: Panel, forecasts: Sequence[Forecast], target_N: FloatArray, horizon: int
) -> dict[str, dict[str, Any]]:
    """:func:`compare_forecasts` of one level's quantiles, by their pinball losses.

    Returns
    -------
    dict of model to dict
        As there, but ``relative_aqe`` in the place of ``relative_rmse``: the mean loss over that of the best, months
        weighted alike. Also on the common rows, all of these weighted alike: ``hit_rate``, ``aqe``, and ``r2`` against
        a quantile of zero.
    """
    common = _common(forecasts, target_N)
    if common is None:
        return {}
    values_MN, target_n, rows = common
    tau = forecasts[0].tau
    assert tau is not None
    loss_MN, zero_n = pinball(target_n - values_MN, tau), pinball(target_n, tau)
    compared, measured = _compared(panel, forecasts, loss_MN, rows, horizon), {}
    for forecast, values_n, loss_n in zip(forecasts, values_MN, loss_MN, strict=True):
        row = compared[forecast.model]
        row["relative_aqe"] = row.pop("relative_rmse") ** 2
        measured[forecast.model] = {
            **row,
            "observations": len(rows),
            "hit_rate": float(np.mean(target_n <= values_n)),
            "aqe": float(loss_n.mean()),
            "r2": float(1.0 - loss_n.sum() / zero_n.sum()) if zero_n.any() else math.nan,
        }
    return measured


def _common(
    forecasts: Sequence[Forecast], target_N: FloatArray
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.int64]] | None:
    """Predictions (M, N) and targets of the rows that all models forecast; None for fewer than two models or no row."""
    if len(forecasts) < 2:
        return None
    rows = forecasts[0].rows
    values_MN = np.stack([forecast.returns for forecast in forecasts if forecast.returns is not None])
    target_n = target_N[rows]
    known_n = np.isfinite(target_n) & np.isfinite(values_MN).all(axis=0)
    if not known_n.any():
        return None
    return values_MN[:, known_n].astype(np.float64), target_n[known_n].astype(np.float64), rows[known_n]


def _compared(
    panel: Panel,
    forecasts: Sequence[Forecast],
    loss_MN: npt.NDArray[np.float64],
    rows: npt.NDArray[np.int64],
    horizon: int,
) -> dict[str, dict[str, Any]]:
    """Each model's comparison by the monthly means of its losses."""
    losses = pd.DataFrame(loss_MN.T, columns=[forecast.model for forecast in forecasts])
    compared = compare_losses(losses.groupby(panel.row_months[rows]).mean(), horizon=horizon)
    best = str(compared["mean_loss"].idxmin())
    return {
        str(name): {**{str(key): value for key, value in row.items()}, "best": best}
        for name, row in compared.to_dict("index").items()
    }
