"""What a forecast is held against: the historical mean, or another model's forecast."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from factor_ray.errors import InputError
from factor_ray.evaluation.newey_west import mean_test
from factor_ray.evaluation.tables import (
    asset_codes,
    month_codes,
    month_column,
    numbers,
    ratio,
    require_columns,
    require_unique,
)


@dataclass(frozen=True)
class DieboldMariano:
    """Which of two models had the smaller losses, month by month.

    Attributes
    ----------
    loss_difference : float
        Mean over months of the month's mean loss of the first model less that of the second; negative where the first
        is the better. Squared decimals for the squared loss, decimals for the absolute loss.
    t_statistic, p_value : float
        Newey-West t-statistic with horizon - 1 lags; two-sided normal p-value. NaN where the losses do not differ.
    observations, assets, months : int
        Rows that both models forecast and whose realisation is known, and their assets and months.
    """

    loss_difference: float
    t_statistic: float
    p_value: float
    observations: int
    assets: int
    months: int


def historical_mean(targets: pd.DataFrame, months: npt.ArrayLike | pd.Series, *, horizon: int) -> pd.DataFrame:
    """Forecast every asset with the pooled mean of all targets already known when the forecast is made.

    The target of formation month s reaches to the end of month s + horizon; the forecast of month t uses it only if
    s + horizon <= t.

    Parameters
    ----------
    targets : DataFrame
        Columns ``month`` (formation month), ``asset``, ``realized`` (decimals, missing where unknown): the whole
        history, training months included.
    months : sequence of dates
        Formation months to forecast, repeated or not.
    horizon : int
        Months h of the target.

    Returns
    -------
    DataFrame
        One row for each distinct month, in order: ``month``, ``benchmark`` (decimals; NaN where nothing is known yet),
        ``observations`` and ``months`` in the mean. Join it to forecasts on ``month``.

    Raises
    ------
    InputError
        If columns are missing, (month, asset) is repeated or the horizon is not positive.
    """
    if horizon < 1:
        raise InputError(f"horizon must be at least 1 month; got {horizon}: give the horizon of the targets")
    require_columns(targets, ["month", "asset", "realized"], "targets")
    month, realized = month_codes(targets), numbers(targets, "realized", "targets")
    _require_one_row_each(targets, "targets", remedy="keep one target for each asset and month")
    known = ~np.isnan(realized)
    formed, row = np.unique(month[known], return_inverse=True)
    total = np.concatenate([[0.0], np.bincount(row, realized[known], minlength=len(formed)).cumsum()])
    count = np.concatenate([[0], np.bincount(row, minlength=len(formed)).cumsum()])

    wanted = np.unique(month_codes(pd.DataFrame({"month": months})))
    months_known = np.searchsorted(formed, wanted - horizon, side="right")
    return pd.DataFrame(
        {
            "month": month_column(wanted),
            "benchmark": ratio(total[months_known], count[months_known]),
            "observations": count[months_known],
            "months": months_known.astype(np.int64),
        }
    )


def diebold_mariano(
    forecasts: pd.DataFrame,
    first: str,
    second: str,
    *,
    horizon: int,
    loss: Literal["squared", "absolute"] = "squared",
) -> DieboldMariano:
    """Test whether two models forecast equally well, on the (month, asset) rows that both forecast.

    Losses are averaged over the assets of a month first, because a month's errors share its news.

    Parameters
    ----------
    forecasts : DataFrame
        Columns ``month``, ``asset``, ``model``, ``horizon``, ``prediction``, ``realized``.
    first, second : str
        Models, as column ``model`` names them.
    horizon : int
        Months h of the forecasts compared; losses of overlapping targets need h - 1 lags.
    loss : "squared" or "absolute"
        Loss of a forecast error.

    Raises
    ------
    InputError
        If columns are missing, a model has no forecasts at the horizon or several for one (month, asset), the models
        share no known row, or the two give different realisations for the same row.

    References
    ----------
    Diebold and Mariano (1995, Journal of Business and Economic Statistics); Gu, Kelly and Xiu
    (2020, Review of Financial Studies), who apply it to panels of forecasts.
    """
    require_columns(forecasts, ["month", "asset", "model", "horizon", "prediction", "realized"], "forecasts")
    if loss not in ("squared", "absolute"):
        raise InputError(f"loss must be 'squared' or 'absolute'; got {loss!r}: choose one of them")
    both = _forecasts_of(forecasts, first, horizon).merge(
        _forecasts_of(forecasts, second, horizon), on=["month", "asset"], suffixes=("_first", "_second")
    )
    both = both.dropna().sort_values(["month", "asset"], ignore_index=True)
    if both.empty:
        raise InputError(
            f"models {first!r} and {second!r} must share forecasts whose realisation is known at horizon {horizon}; "
            "they share none: compare models of one run over the same test months"
        )
    if not np.array_equal(both["realized_first"], both["realized_second"]):
        raise InputError(
            f"models {first!r} and {second!r} must be scored on the same realisations; "
            "column 'realized' differs between them for the same month and asset: take both from one panel"
        )
    errors = [both["realized_first"] - both[f"prediction_{side}"] for side in ("first", "second")]
    losses = [error**2 if loss == "squared" else error.abs() for error in errors]
    monthly = (losses[0] - losses[1]).groupby(both["month"]).mean()
    test = mean_test(monthly, horizon - 1)
    return DieboldMariano(
        test.mean, test.t_statistic, test.p_value, len(both), int(both["asset"].nunique()), test.months
    )


def _forecasts_of(forecasts: pd.DataFrame, model: str, horizon: int) -> pd.DataFrame:
    own = forecasts[(forecasts["model"] == model) & (forecasts["horizon"] == horizon)]
    if own.empty:
        there = forecasts[["model", "horizon"]].drop_duplicates().sort_values(["model", "horizon"])
        names = ", ".join(f"{name!r} at {months}" for name, months in there.itertuples(index=False))
        raise InputError(
            f"model {model!r} must have forecasts at horizon {horizon}; there are {names or 'none'}: choose among them"
        )
    _require_one_row_each(own, f"{model!r} forecasts", remedy="keep one kind of forecast")
    return pd.DataFrame(
        {
            "month": month_codes(own),
            "asset": own["asset"].to_numpy(),
            "prediction": numbers(own, "prediction", "forecasts"),
            "realized": numbers(own, "realized", "forecasts"),
        }
    )


def _require_one_row_each(table: pd.DataFrame, name: str, remedy: str) -> None:
    codes = pd.DataFrame({"month": month_codes(table), "asset": asset_codes(table)})
    require_unique(codes, table[["month", "asset"]], name, remedy)
