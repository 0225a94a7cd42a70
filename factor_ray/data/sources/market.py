"""The market's excess return and the risk-free rate, from a factor file of Kenneth French's."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from factor_ray.data.months import format_month, to_months
from factor_ray.data.sources.french import french
from factor_ray.errors import InputError

_NAMES = {"MktRF": "Mkt-RF"}


def market_returns(path: str | Path) -> pd.DataFrame:
    """Read ``Mkt-RF`` and ``RF`` by month.

    Parameters
    ----------
    path
        One of French's factor files (three or five factors), as downloaded.

    Returns
    -------
    DataFrame
        Months (PeriodIndex named ``month``) x Mkt-RF, RF, decimals a month.

    Raises
    ------
    InputError
        If the file cannot be read, or none of its monthly tables has both columns.
    """
    for table in french(path).values():
        named = table.rename(columns=_NAMES)
        if named.index.name == "month" and {"Mkt-RF", "RF"} <= set(named.columns):
            return named[["Mkt-RF", "RF"]]
    raise InputError(
        f"{path} has no monthly table with Mkt-RF and RF: give French's file of the three or five factors "
        "(F-F_Research_Data_Factors.csv)"
    )


def risk_free_by_month(path: str | Path, first: int, last: int) -> pd.Series:
    """Return the risk-free rate of each month (int, since 1970-01) from ``first`` to ``last``, decimals.

    Raises
    ------
    InputError
        If `market_returns` fails or a month has no rate.
    """
    rate = market_returns(path)["RF"].dropna()
    by_month = pd.Series(rate.to_numpy(), index=to_months(rate.index)).reindex(range(first, last + 1))
    if bool(by_month.isna().any()):
        raise InputError(
            f"{path} has no risk-free rate for {format_month(by_month.index[by_month.isna()][0])}: give a file that "
            f"reaches from {format_month(first)} to {format_month(last)}, or set data.start and data.end"
        )
    return by_month
