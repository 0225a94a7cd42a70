"""Loadings on latent factors in the test months, and portfolios of the assets sorted on them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from factor_ray.data.panel import Panel
from factor_ray.descriptions import first_fitted, identified
from factor_ray.evaluation import long_short
from factor_ray.experiment import PortfolioSettings
from factor_ray.measures import fills_portfolios, form_portfolios
from factor_ray.models.base import FittedLoadings
from factor_ray.models.latent import left_out_residuals
from factor_ray.runner.campaign import Quest
from factor_ray.runner.cells import CellStore
from factor_ray.runner.inputs import Inputs
from factor_ray.tables import Forecast

FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]

# Axes: N rows of the panel, n rows of test months, K factors.


@dataclass(frozen=True)
class Loadings:
    """How assets load on a model's factors: the windows' test months laid end to end.

    Attributes
    ----------
    model : str
    horizon : int
    rows : int array (n,)
        Rows of the panel, in order.
    values_nK : float32 array (n, K)
        Ordered and signed by :func:`factor_ray.descriptions.identified`; NaN where a window has fewer factors.
    """

    model: str
    horizon: int
    rows: IntArray
    values_nK: FloatArray


def loadings_of(quest: Quest, inputs: Inputs, store: CellStore) -> Loadings | None:
    """Return the loadings of the first member of each window's ensemble, as known at the end of each test month.

    Members are not averaged, because each has factors of its own.

    Parameters
    ----------
    quest : Quest
        A finished search.
    inputs : Inputs
    store : CellStore
        Holds the cells of the selected points.

    Returns
    -------
    Loadings or None
        Of what was selected window by window; None for a model that cannot tell loadings.
    """
    selection = quest.selection
    assert selection is not None
    rows, parts = [], []
    for window, variant in enumerate(selection.best):
        fitted, test = first_fitted(quest, store, window, variant), quest.windows[window].test
        described = fitted.describe()
        if not isinstance(fitted, FittedLoadings) or described is None:
            return None
        order_K, sign_K = identified(described)
        months = inputs.view(quest.horizon, window).forecast_months(test)
        none_0K = np.zeros((0, len(order_K)), dtype=np.float32)
        values_nK = np.concatenate([none_0K, *map(fitted.loadings, months)])
        parts.append(values_nK[:, order_K] * sign_K.astype(np.float32))
        span = inputs.panel.rows(*test)
        rows.append(np.arange(span.start, span.stop))
    most = max(part.shape[1] for part in parts)
    padded = [np.pad(part, ((0, 0), (0, most - part.shape[1])), constant_values=np.nan) for part in parts]
    return Loadings(quest.model, quest.horizon, np.concatenate(rows), np.concatenate(padded))


def left_out_r2(panel: Panel, loadings: Loadings, target_N: FloatArray) -> float:
    """Return R2 against zero of total fits in which an asset's own return does not realise the factors.

    See :func:`factor_ray.models.latent.left_out_residuals`; NaN where no month has returns enough.
    """
    target_n = target_N[loadings.rows].astype(np.float64)
    residual_n = np.full(len(target_n), np.nan)
    month_n = panel.row_months[loadings.rows]
    for month in np.unique(month_n):
        rows = slice(*np.searchsorted(month_n, [month, month + 1]))
        factors_K = np.isfinite(loadings.values_nK[rows]).all(axis=0)
        if factors_K.any():
            residual_n[rows] = left_out_residuals(loadings.values_nK[rows][:, factors_K], target_n[rows])
    known_n = np.isfinite(residual_n)
    squares = float(np.square(target_n[known_n]).sum())
    return 1 - float(np.square(residual_n[known_n]).sum()) / squares if squares else float("nan")


def loading_portfolios(
    panel: Panel, loadings: Loadings, next_return_N: FloatArray, settings: PortfolioSettings
) -> pd.DataFrame:
    """Sort each month's assets on their loadings on each factor; portfolios are held over the next month.

    Returns
    -------
    DataFrame
        What :func:`factor_ray.evaluation.sort_portfolios` returns, and ``model``, ``horizon`` and ``factor``, counted
        from 1. Factors on which no month has assets enough are left out.
    """
    found = []
    for position, values_n in enumerate(loadings.values_nK.T):
        signal = Forecast(loadings.model, loadings.horizon, loadings.rows, np.ascontiguousarray(values_n))
        if fills_portfolios(panel, signal, next_return_N, settings):
            formed = form_portfolios(panel, signal, next_return_N, settings)
            formed.insert(2, "factor", position + 1)
            found.append(formed)
    return pd.concat(found, ignore_index=True) if found else pd.DataFrame()


def measure_loading_portfolios(formed: pd.DataFrame, settings: PortfolioSettings) -> list[dict[str, Any]]:
    """Return, for each factor, its number and what high minus low was worth before and after costs."""
    return [
        {"factor": factor, "long_short": long_short(own, costs=settings.costs).to_dict("records")}
        for factor, own in formed.groupby("factor")
    ]
