"""Loadings on latent factors in the test months, and portfolios of the assets sorted on them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from factor_ray.data.panel import Panel
from factor_ray.evaluation import long_short
from factor_ray.experiment import PortfolioSettings
from factor_ray.measures import fills_portfolios, form_portfolios
from factor_ray.models.base import Description, FittedLoadings
from factor_ray.models.registry import model
from factor_ray.runner.campaign import Quest
from factor_ray.runner.cells import CellStore
from factor_ray.runner.forecasting import fitted_members, read_fits
from factor_ray.runner.inputs import Inputs
from factor_ray.tables import Forecast, selected_members

FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]

# Axes: N rows of the panel, n rows of test months, T training months, K factors.


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
        Factors as :func:`identified` orders and signs them; NaN where a window has fewer than others.
    """

    model: str
    horizon: int
    rows: IntArray
    values_nK: FloatArray


def loadings_of(quest: Quest, inputs: Inputs, store: CellStore, members: int) -> Loadings | None:
    """Return the loadings of the first member of each window's ensemble, as known at the end of each test month.

    Members are not averaged, because each has factors of its own.

    Parameters
    ----------
    quest : Quest
        A finished search.
    inputs : Inputs
    store : CellStore
        Holds the cells of the selected points.
    members : int
        Size of the ensembles.

    Returns
    -------
    Loadings or None
        Of what was selected window by window; None for a model that cannot tell loadings.
    """
    selection = quest.selection
    assert selection is not None
    rows, parts = [], []
    for window, variant in enumerate(selection.best):
        listed = selected_members(quest, selection, window, variant, members)
        sound = next((member for member in listed if store.read(member.cell).status == "ok"), listed[0])
        first = fitted_members(quest.model, [sound], read_fits(store, [sound]))[0]
        fitted, test = model(quest.model).fitted(first.settings, first.weights), quest.windows[window].test
        described = fitted.describe()
        if not isinstance(fitted, FittedLoadings) or described is None:
            return None
        order_K, sign_K = identified(described)
        months = inputs.view(quest.horizon, window).forecast_months(test)
        none_0K = np.zeros((0, len(order_K)), dtype=np.float32)
        parts.append(np.concatenate([none_0K, *map(fitted.loadings, months)])[:, order_K] * sign_K)
        span = inputs.panel.rows(*test)
        rows.append(np.arange(span.start, span.stop))
    most = max(part.shape[1] for part in parts)
    padded = [np.pad(part, ((0, 0), (0, most - part.shape[1])), constant_values=np.nan) for part in parts]
    return Loadings(quest.model, quest.horizon, np.concatenate(rows), np.concatenate(padded).astype(np.float32))


def identified(described: Description) -> tuple[IntArray, FloatArray]:
    """Return the order of factors by falling variance, and their signs that make means positive; training decides.

    Returns
    -------
    order_K : int64 array (K,)
        Positions of the factors.
    sign_K : float32 array (K,)
        1 or -1, in that order.
    """
    factors_TK = described.factors
    known_tK = factors_TK[np.isfinite(factors_TK).all(axis=1)]
    if not len(known_tK):
        return np.arange(factors_TK.shape[1]), np.ones(factors_TK.shape[1], dtype=np.float32)
    order_K = np.argsort(-known_tK.var(axis=0), kind="stable")
    return order_K, np.where(known_tK.mean(axis=0)[order_K] < 0, np.float32(-1), np.float32(1))


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
