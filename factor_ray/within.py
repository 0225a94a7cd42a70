"""The same forecasts measured within smaller universes: without the smallest firms, say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from factor_ray.data.panel import Panel
from factor_ray.data.universe import Universe, universe_rows
from factor_ray.data.windows import Window
from factor_ray.errors import InputError
from factor_ray.experiment import PortfolioSettings
from factor_ray.measures import fills_portfolios, form_portfolios, measure_portfolios, measure_returns, rows_tested
from factor_ray.tables import Forecast

FloatArray = npt.NDArray[np.float32]
BoolArray = npt.NDArray[np.bool_]


def rows_within(panel: Panel, universes: Mapping[str, Universe]) -> dict[str, BoolArray]:
    """Return which rows of a panel, as it was loaded, lie in each universe at the end of their month.

    Raises
    ------
    InputError
        Naming the universe, if the panel lacks a column that it needs.
    """
    found = {}
    for name, universe in universes.items():
        try:
            found[name], _ = universe_rows(panel, universe)
        except InputError as error:
            raise InputError(str(error).replace("preprocess.universe", f"within.{name}")) from error
    return found


def require_within(panel: Panel, universes: Mapping[str, Universe], windows: Mapping[int, Sequence[Window]]) -> None:
    """Refuse universes in which no test month has an asset, before anything is fitted.

    Raises
    ------
    InputError
        Naming the universe.
    """
    rows = rows_tested(panel, windows)
    for name, inside_N in rows_within(panel, universes).items():
        if not inside_N[rows].any():
            raise InputError(
                f"within.{name} must hold an asset in some test month, and none passes its filters: check their values "
                "against the data, or leave the universe out"
            )


def measure_within(
    panel: Panel,
    forecast: Forecast,
    inside_N: BoolArray,
    target_N: FloatArray,
    benchmark_N: FloatArray,
    next_return_N: FloatArray,
    settings: PortfolioSettings,
    *,
    sorts: bool,
) -> dict[str, Any]:
    """Return the accuracy of a forecast's rows in a universe, and the portfolios sorted among them.

    Of a universe that preparation has left without rows only their number, 0, is returned.

    Nothing is fitted again: firms outside still were in training.

    Parameters
    ----------
    panel : Panel
        Prepared.
    forecast : Forecast
        Of mean returns.
    inside_N : bool array (N,)
        Rows of the prepared panel in the universe.
    target_N, benchmark_N, next_return_N : float32 arrays (N,)
        Targets, historical-mean forecasts and returns of the next month.
    settings : PortfolioSettings
    sorts : bool
        Whether portfolios are sorted on the forecast.
    """
    assert forecast.returns is not None
    kept_n = inside_N[forecast.rows]
    if not kept_n.any():
        return {"rows": 0}
    part = replace(forecast, rows=forecast.rows[kept_n], returns=forecast.returns[kept_n], consensus=None, total=None)
    measured: dict[str, Any] = {
        "rows": int(kept_n.sum()),
        "share": float(kept_n.mean()),
        "returns": measure_returns(panel, part, forecast.returns[kept_n], target_N, benchmark_N)["all"],
    }
    if sorts and fills_portfolios(panel, part, next_return_N, settings):
        formed = form_portfolios(panel, part, next_return_N, settings)
        measured["long_short"] = measure_portfolios(formed, settings.costs)["long_short"]
    return measured
