"""The universe: which assets may be held when a portfolio is formed, judged by what is known at that month's end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Annotated, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
from pydantic import BaseModel, ConfigDict, Field

from factor_ray.data.months import format_month
from factor_ray.data.panel import Panel
from factor_ray.errors import InputError

BoolArray = npt.NDArray[np.bool_]

_NYSE = ("1", "NYSE", "N")
_KEYS = {"price": "min_price", "market_cap": "min_cap_percentile", "history": "min_history"}


class Universe(BaseModel):
    """Filters at formation time. A firm-month outside is neither fitted, ranked nor forecast.

    Its numbers stay history: values are carried forward from it, and returns earned after the firm has left the
    universe count in the targets of the months in which it was inside. A firm-month of which the price,
    capitalisation, exchange or share code is not known is outside where that is asked for.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    min_price: Annotated[float, Field(gt=0)] | None = Field(
        None, description="Lowest price at the month's end; needs columns.price, whose sign is ignored."
    )
    min_cap_percentile: Annotated[float, Field(gt=0, lt=100)] | None = Field(
        None, description="Capitalisations below this percentile of the month are left out; needs columns.market_cap."
    )
    breakpoints: Literal["nyse", "all"] = Field(
        "all",
        description="Whose capitalisations the percentile is of: nyse (exchange 1, N or NYSE) or all of the month.",
    )
    exchange: tuple[str | int, ...] | None = Field(
        None, min_length=1, description="Exchanges to keep, by code or name; needs columns.exchange."
    )
    share_code: tuple[str | int, ...] | None = Field(
        None, min_length=1, description="Kinds of shares to keep, as 10 and 11; needs columns.share_code."
    )
    min_history: Annotated[int, Field(ge=1)] | None = Field(
        None,
        description="Months with a return, formation included, that a firm must have in the panel. Firms of the "
        "panel's first months have none yet and are left out.",
    )


def universe_rows(panel: Panel, universe: Universe | None) -> tuple[BoolArray, Counter[str]]:
    """Return which rows are in the universe at the end of their month, and how many each filter left out.

    A row that several filters leave out counts for the first: price, market_cap, exchange, share_code, history.

    Returns
    -------
    bool array (N,), Counter
        The value of a row depends on its month and those before only.

    Raises
    ------
    InputError
        If the panel lacks a column that a filter needs, or a month has no NYSE firm to take breakpoints from.
    """
    inside_N, dropped = np.ones(len(panel), dtype=bool), Counter[str]()
    for name, passes_N in _filters(panel, universe or Universe.model_validate({})):
        dropped[name] = int((inside_N & ~passes_N).sum())
        inside_N &= passes_N
    return inside_N, dropped


def require_rows(inside_N: BoolArray, left_out: Counter[str]) -> None:
    """Refuse a universe of preparation that no row is in; arguments are what :func:`universe_rows` returns.

    Raises
    ------
    InputError
        Naming the filters that left rows out.
    """
    if not inside_N.any():
        told = ", ".join(f"{_KEYS.get(name, name)} leaves out {count:,}" for name, count in left_out.items() if count)
        raise InputError(f"preprocess.universe keeps 0 of {len(inside_N):,} rows: {told}; loosen or remove a filter")


def _filters(panel: Panel, universe: Universe) -> Iterator[tuple[str, BoolArray]]:
    if universe.min_price is not None:
        _require(panel, "price", "min_price")
        yield "price", np.abs(panel.values("price")) >= np.float32(universe.min_price)
    if universe.min_cap_percentile is not None:
        _require(panel, "market_cap", "min_cap_percentile")
        yield "market_cap", _large(panel, universe.min_cap_percentile, universe.breakpoints)
    if universe.exchange is not None:
        _require(panel, "exchange", "exchange")
        yield "exchange", np.isin(panel.labels("exchange").astype(str), [str(value) for value in universe.exchange])
    if universe.share_code is not None:
        _require(panel, "share_code", "share_code")
        yield "share_code", np.isin(panel.labels("share_code").astype(str), [str(v) for v in universe.share_code])
    if universe.min_history is not None:
        known = pd.Series(~np.isnan(panel.values("return")))
        yield "history", known.groupby(panel.assets).cumsum().to_numpy() >= universe.min_history


def _large(panel: Panel, percentile: float, breakpoints: str) -> BoolArray:
    cap_N = panel.values("market_cap").astype(np.float64)
    reference_N = ~np.isnan(cap_N)
    if breakpoints == "nyse":
        _require(panel, "exchange", "breakpoints: nyse")
        reference_N &= np.isin(panel.labels("exchange").astype(str), _NYSE)
    large_N = np.zeros(len(panel), dtype=bool)
    for month, start, stop in zip(panel.months, panel.offsets[:-1], panel.offsets[1:], strict=True):
        caps = cap_N[start:stop]
        judged = caps[reference_N[start:stop]]
        if len(judged) == 0:
            whose = "NYSE firm (exchange 1, N or NYSE)" if breakpoints == "nyse" else "firm"
            raise InputError(
                f"preprocess.universe.min_cap_percentile: no {whose} has a market capitalisation in "
                f"{format_month(month)} to take the breakpoint from; fill the column in or leave the filter out"
            )
        large_N[start:stop] = caps >= np.percentile(judged, percentile)
    return large_N


def _require(panel: Panel, column: str, key: str) -> None:
    if column not in panel.table.column_names:
        raise InputError(
            f"preprocess.universe.{key} needs a column of the role {column!r} and the panel has none: name it in "
            f"data.columns.{column}, or leave the filter out"
        )
