"""The market's excess return and the risk-free rate, from a factor file of Kenneth French's."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

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


def require_rates(rate: pd.Series, months: pd.PeriodIndex, source: str | Path) -> None:
    """Refuse months without a risk-free rate.

    Raises
    ------
    InputError
        Naming the first such month and the span that is needed.
    """
    unknown = months[~months.isin(rate.dropna().index)]
    if len(unknown):
        raise InputError(
            f"{source} has no risk-free rate for {unknown[0]}: give a file that reaches from {months.min()} to "
            f"{months.max()}, or set data.start and data.end"
        )
