"""From forecasts to measures: accuracy by model and year, portfolios, and metrics.json."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from factor_ray.data.panel import Panel
from factor_ray.data.targets import next_returns
from factor_ray.data.windows import Window
from factor_ray.errors import InputError
from factor_ray.evaluation import (
    consensus_statistics,
    long_short,
    portfolio_means,
    return_statistics,
    sort_portfolios,
)
from factor_ray.evaluation.accuracy import monthly_ics, pair_rows
from factor_ray.evaluation.forecasts import forecast_measures
from factor_ray.evaluation.quantiles import quantile_measures
from factor_ray.experiment import PortfolioSettings
from factor_ray.tables import TOTAL, Forecast, formation_months

FloatArray = npt.NDArray[np.float32]

MARKET = "market"
"""Label of the portfolio of all forecast assets, beside the models' portfolios."""


def measure_returns(
    panel: Panel, forecast: Forecast, returns_n: FloatArray, target_N: FloatArray, benchmark_N: FloatArray
) -> dict[str, Any]:
    """Return the accuracy of a forecast's ``returns`` or ``total``: under ``all``, and by calendar year."""
    rows = _outcomes(panel, forecast, returns_n, target_N)
    benchmark_n = benchmark_N[forecast.rows].astype(np.float64)
    pooled = pair_rows(rows, outcome="realized", name="forecasts")
    yearly = pair_rows(rows, outcome="realized", name="forecasts", yearly=True)
    ics = monthly_ics(yearly)  # those of the whole are the same months'
    years = yearly.labels["year"]
    whole = forecast_measures(pooled, ics.assign(group=0), [forecast.horizon], benchmark_n[pooled.known])
    by_year = forecast_measures(yearly, ics, [forecast.horizon] * len(years), benchmark_n[yearly.known])
    return {
        "all": whole.iloc[0].to_dict(),
        "by_year": {str(year): row for year, row in zip(years, by_year.to_dict("records"), strict=True)},
    }


def measure_quantiles(panel: Panel, forecast: Forecast, target_N: FloatArray) -> dict[str, Any]:
    """Return how good one level of a quantile forecast was, by kind; ``total`` where there is one."""
    found = {}
    for kind, values_n in ((forecast.kind, forecast.returns), (TOTAL, forecast.total)):
        if values_n is not None:
            rows = _outcomes(panel, forecast, values_n, target_N)
            pairs = pair_rows(rows, outcome="realized", name="quantiles")
            measured = quantile_measures(pairs, np.array([forecast.tau]))
            found[kind] = {"tau": forecast.tau, **{name: float(value) for name, (value,) in measured.items()}}
    return found


def _outcomes(panel: Panel, forecast: Forecast, values_n: FloatArray, target_N: FloatArray) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "month": panel.row_months[forecast.rows],
            "asset": panel.asset_codes[forecast.rows],
            "prediction": values_n,
            "realized": target_N[forecast.rows],
        }
    )


def measure_consensus(panel: Panel, forecast: Forecast) -> dict[str, Any]:
    """Return the accuracy of each consensus variable: pooled under ``all``, and R2 by calendar year."""
    assert forecast.consensus is not None
    found = {}
    for position, variable in enumerate(panel.consensus_names):
        frame = pd.DataFrame(
            {
                "month": formation_months(panel, forecast.rows),
                "asset": panel.assets[forecast.rows],
                "variable": variable,
                "prediction": forecast.consensus[:, position],
                "actual": panel.consensus[forecast.rows, position],
            }
        )
        pooled = consensus_statistics(frame, by=["variable"]).iloc[0].drop("variable").to_dict()
        yearly = consensus_statistics(frame, by=["variable", "year"])
        by_year = {str(int(year)): r2 for year, r2 in zip(yearly["year"], yearly["r2"], strict=True)}
        found[variable] = {"all": pooled, "by_year": by_year}
    return found


def portfolio_weights(settings: PortfolioSettings, panel: Panel) -> Literal["equal", "value"]:
    """Return the weighting of portfolios: by market capitalisation where asked for or, for auto, where there is one.

    Raises
    ------
    InputError
        If value weights are asked for and the data has no market capitalisations.
    """
    if settings.weights == "value" and not panel.has_market_cap:
        raise InputError(
            "portfolios.weights is value and the data has no market capitalisations: name their column in "
            "data.columns.market_cap, or set portfolios.weights to auto or equal"
        )
    if settings.weights == "auto":
        return "value" if panel.has_market_cap else "equal"
    return settings.weights


def require_portfolios(settings: PortfolioSettings, panel: Panel, windows: Mapping[int, Sequence[Window]]) -> None:
    """Refuse portfolios that no test month could fill, before anything is fitted.

    Raises
    ------
    InputError
        If no test month has as many assets with a next return, and for value weights a market capitalisation, as there
        are portfolios; or if value weights are asked for and there are no market capitalisations.
    """
    by_value = portfolio_weights(settings, panel) == "value"
    rows = rows_tested(panel, windows)
    most = most_investable(panel, rows, next_returns(panel), np.zeros(len(panel), dtype=np.float32), settings)
    if most < settings.number:
        raise InputError(
            f"portfolios.number is {settings.number} and no test month has more than {most} assets with "
            f"{'a market capitalisation above 0 and ' if by_value else ''}a return in the month after: lower it, "
            f"{'set portfolios.weights to equal, ' if by_value else ''}or move windows.first_train_end"
        )


def rows_tested(panel: Panel, windows: Mapping[int, Sequence[Window]]) -> npt.NDArray[np.int64]:
    """Return the rows of all test months of all horizons, each once, in order."""
    spans = [panel.rows(*window.test) for listed in windows.values() for window in listed]
    return np.unique(np.concatenate([np.arange(span.start, span.stop) for span in spans]))


def most_investable(
    panel: Panel,
    rows: npt.NDArray[np.int64],
    next_return_N: FloatArray,
    signal_N: FloatArray,
    settings: PortfolioSettings,
) -> int:
    """Return the largest number of assets in a month that portfolios could hold; 0 without any.

    Such assets have a signal, a next return and, where weights are by value, a market capitalisation above 0.
    """
    held = np.isfinite(next_return_N[rows]) & np.isfinite(signal_N[rows])
    if portfolio_weights(settings, panel) == "value":
        held &= panel.values("market_cap")[rows] > 0
    return int(np.bincount(panel.row_months[rows[held]] - panel.months[0], minlength=1).max())


def fills_portfolios(panel: Panel, forecast: Forecast, next_return_N: FloatArray, settings: PortfolioSettings) -> bool:
    """Whether some month has assets enough that the model forecasts and that earn a next return."""
    signal_N = np.full(len(panel), np.nan, dtype=np.float32)
    signal_N[forecast.rows] = forecast.returns
    return most_investable(panel, forecast.rows, next_return_N, signal_N, settings) >= settings.number


def form_portfolios(
    panel: Panel, forecast: Forecast, next_return_N: FloatArray, settings: PortfolioSettings
) -> pd.DataFrame:
    """Return monthly returns and turnover of the quantile portfolios of a forecast."""
    signals = _holdings(panel, forecast.rows, next_return_N).assign(prediction=forecast.returns)
    weights = portfolio_weights(settings, panel)
    formed = sort_portfolios(signals, portfolios=settings.number, weights=weights)
    formed.insert(0, "model", forecast.model)
    formed.insert(1, "horizon", forecast.horizon)
    return formed


def market_portfolio(
    panel: Panel, rows: npt.NDArray[np.int64], next_return_N: FloatArray, settings: PortfolioSettings
) -> pd.DataFrame:
    """Return the monthly return of all assets held together, weighted as the portfolios are.

    ``next_return_N`` may be returns in excess of the risk-free rate: then that of the market is, too.
    """
    held = _holdings(panel, rows, next_return_N).dropna(subset=["next_return"])
    held["weight"] = held["market_cap"] if portfolio_weights(settings, panel) == "value" else 1.0
    held = held[held["weight"] > 0]
    weighted = held["weight"] * held["next_return"]
    total = weighted.groupby(held["month"]).sum() / held.groupby("month")["weight"].sum()
    return pd.DataFrame({"month": total.index, "portfolio": MARKET, "return": total.to_numpy()})


def measure_portfolios(formed: pd.DataFrame, costs: Sequence[float]) -> dict[str, Any]:
    """Return the means of one model's portfolios and the long-short statistics before and after costs."""
    return {
        "portfolios": portfolio_means(formed).to_dict("records"),
        "long_short": long_short(formed, costs=costs).to_dict("records"),
    }


def measure_market(market: pd.DataFrame, excess: pd.DataFrame) -> dict[str, Any]:
    """Return the statistics of the portfolio of all assets.

    Its wealth is that of its returns. ``sharpe`` and ``t_statistic``, which stand beside those of zero-cost portfolios,
    are of its returns in excess of the risk-free rate, as is ``mean_excess_return``.
    """
    above = return_statistics(excess["return"])
    judged = {name: above[name] for name in ("sharpe", "t_statistic")}
    return {**return_statistics(market["return"]), **judged, "mean_excess_return": above["mean_return"]}


def plain(value: Any) -> Any:
    """Return a value as JSON holds it: NaN and infinity become null."""
    if isinstance(value, Mapping):
        return {str(key): plain(nested) for key, nested in value.items()}
    if isinstance(value, list | tuple):
        return [plain(nested) for nested in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _holdings(panel: Panel, rows: npt.NDArray[np.int64], next_return_N: FloatArray) -> pd.DataFrame:
    holdings = pd.DataFrame(
        {
            "month": formation_months(panel, rows),
            "asset": panel.assets[rows],
            "next_return": next_return_N[rows].astype(np.float64),
        }
    )
    if panel.has_market_cap:
        holdings["market_cap"] = panel.values("market_cap")[rows].astype(np.float64)
    return holdings
