"""A panel of monthly returns and price and volume characteristics, from daily prices."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import pandas as pd

from factor_ray.data.macro import Macro
from factor_ray.data.months import format_month, no_month_left, parse_month, to_months
from factor_ray.data.panel import Panel
from factor_ray.data.sources.daily_prices import read_daily_prices
from factor_ray.data.sources.market import market_returns, require_rates
from factor_ray.data.sources.price_characteristics import PRICE_CHARACTERISTICS, price_characteristics
from factor_ray.errors import InputError


def daily_prices(
    path: str | Path,
    *,
    market: str | Path | None = None,
    characteristics: Sequence[str] | Literal["all"] = "all",
    consensus: Sequence[str] = (),
    start: str | None = None,
    end: str | None = None,
    macro: Macro | None = None,
) -> Panel:
    """Build a panel from daily open, high, low, close and volume.

    Parameters
    ----------
    path : path
        Long or wide, CSV or Parquet, or a folder of one file per asset; see
        :func:`factor_ray.data.sources.daily_prices.read_daily_prices`.
    market : path, optional
        A factor file of Kenneth French's, with the market's excess return (for betas) and the risk-free rate. None:
        the mean return of all assets stands in for the market, and returns are taken as excess returns.
    characteristics : list of str or "all"
        Among the 22 of ``PRICE_CHARACTERISTICS``; all are those that vary in these data and are no consensus.
    consensus : list of str
        Those of the 22 that are to be predicted by the bottleneck and no inputs.
    start, end : str, optional
        First and last month to keep, YYYY-MM; earlier days still count as history.
    macro : Macro, optional

    Returns
    -------
    Panel
        One row per asset and month with a price; returns are simple, from month-end close to month-end close, gross of
        risk_free where `market` is given. There are no market capitalisations.

    Raises
    ------
    InputError
        If a file cannot be read, a name is none of the 22, or a month has no risk-free rate.
    """
    unknown = next((n for n in [*consensus, *_listed(characteristics)] if n not in PRICE_CHARACTERISTICS), None)
    if unknown is not None:
        raise InputError(
            f"daily prices give no characteristic {unknown!r}; choose among {', '.join(PRICE_CHARACTERISTICS)}"
        )
    factors = None if market is None else market_returns(market)
    frame = price_characteristics(read_daily_prices(path), market=factors)
    months = to_months(frame["month"])
    first = months.min() if start is None else parse_month(start)
    last = months.max() if end is None else parse_month(end)
    within = (months >= first) & (months <= last)
    frame = frame[within]
    if frame.empty:
        raise InputError(no_month_left(path, format_month(months.min()), format_month(months.max()), start, end))
    notes = []
    if factors is None:
        notes.append("No market file was given: the mean return of all assets stands in for the market in betas.")
    else:
        require_rates(factors["RF"], pd.PeriodIndex(frame["month"].unique()), str(market))
    inputs = _listed(characteristics)
    if characteristics == "all":
        candidates = [name for name in PRICE_CHARACTERISTICS if name not in consensus]
        inputs = [name for name in candidates if _varies(frame[name])]
        if len(inputs) < len(candidates):
            left_out = [name for name in candidates if name not in inputs]
            notes.append(f"Characteristics that these prices do not give were left out: {', '.join(left_out)}.")
    try:
        panel = Panel.from_frame(
            frame,
            month="month",
            asset="asset",
            returns="return",
            risk_free=None if factors is None else "risk_free",
            characteristics=inputs,
            consensus=consensus,
            frequency=dict.fromkeys([*inputs, *consensus], "monthly"),
            macro=macro,
        )
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    return panel.with_notes(notes)


def _listed(characteristics: Sequence[str] | Literal["all"]) -> list[str]:
    return [] if characteristics == "all" else list(characteristics)


def _varies(values: pd.Series) -> bool:
    known = values.astype("float32").dropna()
    return bool(len(known) and known.min() != known.max())
