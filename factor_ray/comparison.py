"""The forecasts of one horizon compared on the rows that all of them have."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from factor_ray.data.panel import Panel
from factor_ray.evaluation import compare_losses
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
    rows = forecasts[0].rows if forecasts else np.zeros(0, dtype=np.int64)
    returns_MN = np.stack([f.returns for f in forecasts if f.returns is not None]) if forecasts else np.zeros((0, 0))
    target_n = target_N[rows]
    known_n = np.isfinite(target_n) & np.isfinite(returns_MN).all(axis=0)
    if len(forecasts) < 2 or not known_n.any():
        return {}
    errors_nM = (returns_MN[:, known_n] - target_n[known_n]).T.astype(np.float64)
    squares = pd.DataFrame(errors_nM**2, columns=[forecast.model for forecast in forecasts])
    compared = compare_losses(squares.groupby(panel.row_months[rows][known_n]).mean(), horizon=horizon)
    best = str(compared["mean_loss"].idxmin())
    observations = int(known_n.sum())
    return {
        str(name): {**{str(key): value for key, value in row.items()}, "observations": observations, "best": best}
        for name, row in compared.to_dict("index").items()
    }
