"""A panel whose assets are portfolios: Kenneth French's portfolio files, or the set inside linearmodels."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from factor_ray.data.macro import Macro
from factor_ray.data.months import no_month_left
from factor_ray.data.panel import Panel
from factor_ray.data.sources.french import french, french_linearmodels
from factor_ray.data.sources.market import market_returns, require_rates
from factor_ray.data.sources.price_characteristics import against_market, past_return_characteristics
from factor_ray.errors import InputError

_PACKAGED_FACTORS = ("MktRF", "SMB", "HML", "Mom", "RF")
_RETURNS = re.compile(r"^average (value|equal) weighted returns", re.IGNORECASE)
_OF = re.compile(r"average of (.+?)(?: calculated|$)", re.IGNORECASE)
_CAP = "total market_cap"
_FORMATION = 6  # annual values of year t are those of portfolios formed at the end of June of t


def french_portfolios(
    path: str | Path | None = None,
    *,
    market: str | Path | None = None,
    weights: Literal["value", "equal"] = "value",
    start: str | None = None,
    end: str | None = None,
    macro: Macro | None = None,
) -> Panel:
    """Build a panel of portfolios.

    Parameters
    ----------
    path : path, optional
        A portfolio file of Kenneth French's Data Library, as downloaded (25 or 100 portfolios, industries, ...). None:
        the 30 portfolios of the set inside ``linearmodels``, 1949-01 to 2017-03, with its own risk-free rate.
    market : path, optional
        A factor file of Kenneth French's, with the market's excess return (for betas) and the risk-free rate. Without
        it the mean of all portfolios stands in for the market and returns are taken as excess returns.
    weights : str
        Which of the file's monthly returns to take, value or equal weighted.
    start, end : str, optional
        First and last month to keep, YYYY-MM; earlier months still count as history.
    macro : Macro, optional

    Returns
    -------
    Panel
        One row per portfolio and month in which it has a return. Characteristics: what the file says of the portfolios
        by month (number of firms, average size, BE/ME, OP, investment, prior returns, named by their titles; annual
        tables from July of their year to June), and ten of their past returns (momentum, reversals, betas). Where the
        file has number of firms and average size, market_cap is their product, in million dollars.

    Raises
    ------
    InputError
        If a file cannot be read, has no monthly returns of these weights, or nothing of the portfolios is known.
    """
    source = "linearmodels" if path is None else str(path)
    notes = []
    if path is None:
        packaged = french_linearmodels()
        returns = packaged.drop(columns=list(_PACKAGED_FACTORS))
        blocks: dict[str, pd.DataFrame] = {}
        factors: pd.DataFrame | None = packaged.rename(columns={"MktRF": "Mkt-RF"})[["Mkt-RF", "RF"]]
        notes.append("Portfolios are the 30 of Kenneth French's that come with the package linearmodels.")
    else:
        returns, blocks = _tables(Path(path), weights)
        factors = None
    if market is not None:
        factors = market_returns(market)
    excess, market_excess, rate = against_market(returns, factors)
    known = {**blocks, **past_return_characteristics(returns, excess, market_excess)}
    every = pd.PeriodIndex(returns.index)
    months = every[(every >= pd.Period(start or every[0])) & (every <= pd.Period(end or every[-1]))]
    if not len(months):
        raise InputError(no_month_left(source, str(every[0]), str(every[-1]), start, end))
    if factors is None:
        notes.append("No market file was given: the mean return of all portfolios stands in for the market in betas.")
    else:
        require_rates(factors["RF"], months, source if market is None else str(market))
    frame = _stacked({"return": returns, "risk_free": rate, _CAP: _market_caps(blocks), **known}, months)
    inputs = [name for name in known if _varies(frame[name])]
    if len(inputs) < len(known):
        notes.append(f"Left out, since no value is known: {', '.join(name for name in known if name not in inputs)}.")
    try:
        panel = Panel.from_frame(
            frame,
            month="month",
            asset="asset",
            returns="return",
            risk_free=None if factors is None else "risk_free",
            market_cap=_CAP if _CAP in frame else None,
            characteristics=inputs,
            frequency=dict.fromkeys(inputs, "monthly"),
            macro=macro,
        )
    except InputError as error:
        raise InputError(f"{source}: {error}") from error
    return panel.with_notes(notes)


def _tables(path: Path, weights: str) -> tuple[pd.DataFrame, dict[str, pd.DataFrame]]:
    """Monthly returns of the portfolios, and what else the file says of them on the same months."""
    found: pd.DataFrame | None = None
    others: list[tuple[str, pd.DataFrame]] = []
    for title, table in french(path).items():
        match = _RETURNS.match(title)
        if match is None:
            others.append((title, table))
        elif match[1].lower() == weights and table.index.name == "month":
            found = table
    if found is None:
        raise InputError(
            f"{path} has no table 'Average {weights.title()} Weighted Returns -- Monthly': give a file of "
            "portfolios, or other data.weights"
        )
    blocks: dict[str, pd.DataFrame] = {}
    for title, table in others:
        name, count = _named(title), 2
        while name in blocks:
            name, count = f"{_named(title)}_{count}", count + 1
        by_month = table if table.index.name == "month" else _by_month(table, pd.PeriodIndex(found.index))
        blocks[name] = by_month.reindex(index=found.index, columns=found.columns)
    return found, blocks


def _named(title: str) -> str:
    """Name a table by what its title says is averaged: be_me, op, investment, number_of_firms, ..."""
    plain = re.sub(r"\([^)]*\)", "", title)
    match = _OF.search(plain)
    words = re.findall(r"[a-z0-9]+", (plain if match is None else match[1]).lower())
    words = [word for word in words if word not in ("in", "portfolios", "average")][:6]
    equal = ["equal"] if match is not None and "equal" in plain.lower() else []
    return "_".join([*words, *equal])


def _by_month(annual: pd.DataFrame, months: pd.PeriodIndex) -> pd.DataFrame:
    years = pd.PeriodIndex([f"{m.year if m.month > _FORMATION else m.year - 1}" for m in months], freq="Y")
    return annual.reindex(years).set_axis(months, axis="index")


def _market_caps(blocks: Mapping[str, pd.DataFrame]) -> pd.DataFrame | None:
    number = blocks.get("number_of_firms")
    size = next((blocks[name] for name in ("market_cap", "firm_size") if name in blocks), None)
    return None if number is None or size is None else number * size


def _stacked(columns: Mapping[str, pd.DataFrame | None], months: pd.PeriodIndex) -> pd.DataFrame:
    held = {name: frame.loc[months] for name, frame in columns.items() if frame is not None}
    rows, assets = np.nonzero(held["return"].notna().to_numpy())
    values = {name: frame.to_numpy()[rows, assets] for name, frame in held.items()}
    keys = {"month": months[rows], "asset": held["return"].columns[assets]}
    return pd.DataFrame({**keys, **values})


def _varies(values: pd.Series) -> bool:
    known = values.astype("float32").dropna()
    return bool(len(known) and known.min() != known.max())
