"""Portfolios sorted on one signal or two: formed at a month's end, held over the next month."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from factor_ray.errors import InputError
from factor_ray.evaluation.holdings import Holdings, performance, weigh, with_spreads
from factor_ray.evaluation.quantile_groups import quantile_groups
from factor_ray.evaluation.tables import (
    FloatArray,
    IntArray,
    asset_codes,
    month_codes,
    month_column,
    numbers,
    require_columns,
    require_unique,
)

HIGH_LOW = "high-low"

Weighting = Literal["equal", "value"]


def sort_portfolios(
    signals: pd.DataFrame,
    *,
    portfolios: int = 10,
    weights: Weighting = "equal",
    signal: str = "prediction",
    breakpoints: str | None = None,
) -> pd.DataFrame:
    """Sort each month's assets into quantile portfolios of a signal, and buy the highest against the lowest.

    Parameters
    ----------
    signals : DataFrame
        One model at one horizon: ``month`` (formation month), ``asset``, the signal, ``next_return`` (simple return of
        the month after, decimals) and, for value weights, ``market_cap`` (any unit) at formation.
    portfolios : int
        Number k of quantile portfolios. Portfolio 1 holds the lowest signals.
    weights : "equal" or "value"
        Within a portfolio. With "value" an asset without a positive market cap is not investable and not ranked.
    signal : str
        Column sorted on; an asset without a value is not ranked.
    breakpoints : str, optional
        A column of booleans that marks the assets whose signals set the breakpoints (NYSE stocks, say); every asset is
        then sorted by them. The default takes all.

    Returns
    -------
    DataFrame
        For every month in which some asset has a ``next_return``, a row for each portfolio, "1" to str(k) and
        "high-low", with columns

        - ``month``, ``portfolio``;
        - ``return``: over month + 1, decimals; NaN where the portfolio is empty;
        - ``turnover``: what was traded at the end of month + 1, as a fraction of wealth (see
          :func:`factor_ray.evaluation.holdings.performance`); NaN unless the portfolio is formed in month + 1 too;
        - ``assets``: held, both legs together for "high-low"; ``not_held``: sorted into the portfolio, but left out of
          it for want of a ``next_return``.

    Raises
    ------
    InputError
        If columns are missing, (month, asset) is repeated, returns are below -1, value weights have no market cap to
        use, or no month has assets enough.

    Notes
    -----
    The rule for ties and uneven months is that of :func:`factor_ray.evaluation.quantile_groups.quantile_groups`: equal
    signals share a portfolio. A month in which fewer than k assets set breakpoints has no portfolios: its rows are
    there, with no assets and NaN returns. Assets are ranked whether or not their next return is known, since that is
    not known at formation; a portfolio spreads its wealth over those that have one.

    The weights of "high-low" are those of portfolio k less those of portfolio 1: one unit of wealth in cash finances a
    unit long and a unit short. Its return is the difference of the two, its wealth grows by 1 + that return, and its
    turnover lies between 0 and 4 in ordinary months (0 and 2 for a portfolio without short positions).
    """
    _require_portfolios(portfolios)
    rows = _read(signals, [signal], weights, breakpoints)
    quantile = quantile_groups(rows.month, rows.signals[signal], rows.sets_breakpoints, portfolios)
    labels = pd.DataFrame({"portfolio": [*map(str, range(1, portfolios + 1)), HIGH_LOW]})
    return _form(rows, quantile - 1, labels, spreads=[(portfolios - 1, 0)])


def double_sort(
    signals: pd.DataFrame,
    *,
    first: str,
    second: str,
    portfolios: tuple[int, int] = (5, 5),
    method: Literal["independent", "conditional"] = "conditional",
    weights: Weighting = "equal",
    breakpoints: str | None = None,
) -> pd.DataFrame:
    """Sort each month's assets on two signals, with a high-minus-low portfolio along each for every level of the other.

    Parameters
    ----------
    signals : DataFrame
        As in :func:`sort_portfolios`, with both signals. An asset needs both to be ranked.
    first, second : str
        Columns sorted on. In a conditional sort the second signal's breakpoints are taken within each portfolio of the
        first.
    portfolios : (int, int)
        Number of quantile portfolios of each signal.
    method : "conditional" or "independent"
        Independent sorts may leave a portfolio empty where the signals go together.
    weights, breakpoints
        As in :func:`sort_portfolios`.

    Returns
    -------
    DataFrame
        ``month``, ``first`` and ``second`` (labels "1", "2", ... or "high-low" along that signal; never both
        "high-low"), ``return``, ``turnover``, ``assets``, ``not_held``, as in :func:`sort_portfolios`.

    Raises
    ------
    InputError
        As in :func:`sort_portfolios`.

    References
    ----------
    Table 3 of the CB-APM paper: conditional sorts on the consensus variable first and the predicted return second.
    """
    _require_portfolios(*portfolios)
    if method not in ("independent", "conditional"):
        raise InputError(f"method must be 'independent' or 'conditional'; got {method!r}: choose one of them")
    rows = _read(signals, [first, second], weights, breakpoints)
    k1, k2 = portfolios
    row = quantile_groups(rows.month, rows.signals[first], rows.sets_breakpoints, k1)
    within = rows.month if method == "independent" else rows.month * (k1 + 1) + row
    column = quantile_groups(within, np.where(row > 0, rows.signals[second], np.nan), rows.sets_breakpoints, k2)
    cell = np.where((row > 0) & (column > 0), (row - 1) * k2 + column - 1, -1)

    names = [(str(i), str(j)) for i in range(1, k1 + 1) for j in range(1, k2 + 1)]
    names += [(HIGH_LOW, str(j)) for j in range(1, k2 + 1)] + [(str(i), HIGH_LOW) for i in range(1, k1 + 1)]
    spreads = [((k1 - 1) * k2 + j, j) for j in range(k2)] + [(i * k2 + k2 - 1, i * k2) for i in range(k1)]
    return _form(rows, cell, pd.DataFrame(names, columns=["first", "second"]), spreads)


@dataclass(frozen=True)
class _Rows:
    """The table as arrays of one row per (month, asset), sorted; ``month`` counts from ``first_month``.

    ``signals`` are NaN for rows that are not investable; ``weight`` is what value or equal weights are proportional to.
    """

    first_month: int
    month: IntArray
    asset: IntArray
    signals: Mapping[str, FloatArray]
    sets_breakpoints: npt.NDArray[np.bool_]
    weight: FloatArray
    next_return: FloatArray


def _form(rows: _Rows, portfolio: IntArray, labels: pd.DataFrame, spreads: Sequence[tuple[int, int]]) -> pd.DataFrame:
    """Hold the assets of each portfolio (-1: none) and of the spreads, which come last in ``labels``."""
    single, every = len(labels) - len(spreads), len(labels)
    priced = ~np.isnan(rows.next_return)
    held = (portfolio >= 0) & priced
    if not held.any():
        most = int(np.bincount(rows.month).max(initial=0))
        raise InputError(
            f"the signals table must have a month that fills some of {single} portfolios; it has at most {most} "
            "assets a month: use fewer portfolios, or look for missing signals, next returns, caps and breakpoint marks"
        )
    months = int(rows.month.max()) + 1
    holdings = Holdings(rows.month[held], portfolio[held], rows.asset[held], rows.weight[held], rows.next_return[held])
    holdings = with_spreads(weigh(holdings, months, single), months, single, spreads)
    result = performance(holdings, months, every)

    left_out = (portfolio >= 0) & ~priced
    not_held = np.bincount(rows.month[left_out] * single + portfolio[left_out], minlength=months * single)
    not_held = not_held.reshape(months, single)
    not_held = np.column_stack([not_held, *(not_held[:, top] + not_held[:, bottom] for top, bottom in spreads)])

    shown = np.unique(rows.month[priced])
    table = labels.loc[np.tile(np.arange(every), len(shown))].reset_index(drop=True)
    table.insert(0, "month", month_column(np.repeat(shown + rows.first_month, every)))
    table["return"] = result.returns[shown].ravel()
    table["turnover"] = result.turnover[shown].ravel()
    table["assets"] = result.assets[shown].ravel()
    table["not_held"] = not_held[shown].ravel()
    return table


def _read(signals: pd.DataFrame, columns: Sequence[str], weights: str, breakpoints: str | None) -> _Rows:
    if weights not in ("equal", "value"):
        raise InputError(f"weights must be 'equal' or 'value'; got {weights!r}: choose one of them")
    marks = [breakpoints] if breakpoints is not None else []
    require_columns(signals, ["month", "asset", "next_return", *columns, *marks], "signals")
    month, asset = month_codes(signals), asset_codes(signals)
    require_unique(
        pd.DataFrame({"month": month, "asset": asset}),
        signals[["month", "asset"]],
        "signals",
        remedy="sort one model at one horizon at a time",
    )
    # Sums run in one order, so that the order of the table's rows cannot show in the last bit of a return.
    order = np.lexsort((asset, month))
    weight = _market_caps(signals) if weights == "value" else np.ones(len(signals))
    values = {column: np.where(weight > 0, numbers(signals, column, "signals"), np.nan) for column in columns}
    first_month = int(month.min(initial=0))
    return _Rows(
        first_month=first_month,
        month=(month - first_month)[order],
        asset=asset[order],
        signals={column: value[order] for column, value in values.items()},
        sets_breakpoints=_marked(signals, breakpoints)[order],
        weight=weight[order],
        next_return=_next_returns(signals)[order],
    )


def _next_returns(signals: pd.DataFrame) -> FloatArray:
    returns = numbers(signals, "next_return", "signals")
    if bool((returns < -1.0).any()):
        raise InputError(
            f"column 'next_return' of the signals table must hold simple returns in decimals, -1 or more; "
            f"got {returns[returns < -1.0][0]:g}: divide percentages by 100"
        )
    return returns


def _market_caps(signals: pd.DataFrame) -> FloatArray:
    remedy = "add the column from the panel, or use weights='equal'"
    if "market_cap" not in signals:
        raise InputError(f"value weights need a column 'market_cap' in the signals table; there is none: {remedy}")
    caps = numbers(signals, "market_cap", "signals")
    if not bool((caps > 0).any()):
        raise InputError(f"value weights need a positive 'market_cap' for some asset; there is none: {remedy}")
    if bool((caps < 0).any()):
        raise InputError(
            f"column 'market_cap' of the signals table must not be negative; got {caps[caps < 0][0]:g}: "
            "take the absolute value of prices that mark a bid-ask midpoint by their sign"
        )
    return caps


def _marked(signals: pd.DataFrame, breakpoints: str | None) -> npt.NDArray[np.bool_]:
    if breakpoints is None:
        return np.ones(len(signals), dtype=bool)
    column = signals[breakpoints]
    if not pd.api.types.is_bool_dtype(column.dtype) or bool(column.isna().any()):
        raise InputError(
            f"column {breakpoints!r} of the signals table must be true or false in every row; "
            f"got {column.dtype}, {int(column.isna().sum())} missing: fill it with booleans"
        )
    return column.to_numpy(dtype=bool)


def _require_portfolios(*numbers_of: int) -> None:
    for number in numbers_of:
        if number < 2:
            raise InputError(f"portfolios must be at least 2; got {number}: 10 makes deciles")
