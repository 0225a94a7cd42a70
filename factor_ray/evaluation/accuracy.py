"""Forecasts paired with outcomes, and the measures that forecasts of every kind share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from factor_ray.errors import InputError
from factor_ray.evaluation.tables import (
    FloatArray,
    IntArray,
    asset_codes,
    count_distinct,
    month_codes,
    month_column,
    numbers,
    ratio,
    require_columns,
    require_unique,
)

# Axes: R rows of the table, N of them with both forecast and outcome, G groups.


@dataclass(frozen=True)
class Pairs:
    """A table's forecasts and outcomes where both are known, and the group that each belongs to.

    Attributes
    ----------
    labels : DataFrame (G, columns of ``by``)
        What the groups are called, in sorted order.
    every_group, known : int and bool arrays (R,)
        Group of each row of the table, and whether it is among the N that count.
    group, month, asset : int arrays (N,)
        Position in ``labels``, months since 1970-01, number of the asset.
    prediction, outcome : float arrays (N,)
    """

    labels: pd.DataFrame
    every_group: IntArray
    known: npt.NDArray[np.bool_]
    group: IntArray
    month: IntArray
    asset: IntArray
    prediction: FloatArray
    outcome: FloatArray


def pair(table: pd.DataFrame, by: Sequence[str], *, outcome: str, name: str) -> Pairs:
    """Read column ``prediction`` and its ``outcome``; ``"year"`` in ``by`` is the calendar year of ``month``.

    Raises
    ------
    InputError
        If ``by`` is empty, columns are missing, or (month, asset) is repeated within a group.
    """
    if not by:
        raise InputError("by must name at least one column; got none: give by=('model',), for example")
    columns = dict.fromkeys(["month", "asset", "prediction", outcome, *by])
    require_columns(table, [column for column in columns if column != "year"], name)
    month, asset = month_codes(table), asset_codes(table)
    keys = pd.DataFrame({key: month // 12 + 1970 if key == "year" else table[key].to_numpy() for key in by})
    group = keys.groupby(list(by), sort=True, dropna=False).ngroup().to_numpy().astype(np.int64)
    codes = pd.DataFrame({"group": group, "month": month, "asset": asset})
    if codes.duplicated().any():  # what the user wrote is put together for the message alone
        written = keys.assign(month=month_column(month), asset=table["asset"].to_numpy())
        remedy = "add the column that tells them apart to by=..., or keep one of them"
        require_unique(codes, written, name, remedy)
    prediction, realized = numbers(table, "prediction", name), numbers(table, outcome, name)
    known = ~np.isnan(prediction) & ~np.isnan(realized)
    _, first = np.unique(group, return_index=True)
    return Pairs(
        labels=keys.iloc[first].reset_index(drop=True),
        every_group=group,
        known=known,
        group=group[known],
        month=month[known],
        asset=asset[known],
        prediction=prediction[known],
        outcome=realized[known],
    )


def pair_rows(rows: pd.DataFrame, *, outcome: str, name: str, yearly: bool = False) -> Pairs:
    """Pair the rows of a panel, without what :func:`pair` asks of a table that a user wrote.

    Parameters
    ----------
    rows : DataFrame
        Columns ``month`` (months since 1970-01) and ``asset`` (numbers from 0), no pair of them twice, ``prediction``
        and its ``outcome``.
    outcome, name : str
        The column of outcomes, and what the rows are called in messages.
    yearly : bool
        Whether each calendar year of ``month`` is a group, labelled ``year``; else all rows are one.

    Raises
    ------
    InputError
        If a prediction or an outcome is infinite.
    """
    prediction, realized = numbers(rows, "prediction", name), numbers(rows, outcome, name)
    known = ~np.isnan(prediction) & ~np.isnan(realized)
    month = rows["month"].to_numpy(dtype=np.int64)
    group, years = pd.factorize(month // 12 + 1970 if yearly else np.zeros_like(month), sort=True)
    return Pairs(
        labels=pd.DataFrame({"year": years} if yearly else {}, index=pd.RangeIndex(len(years))),
        every_group=group,
        known=known,
        group=group[known],
        month=month[known],
        asset=rows["asset"].to_numpy(dtype=np.int64)[known],
        prediction=prediction[known],
        outcome=realized[known],
    )


def accuracy(pairs: Pairs) -> pd.DataFrame:
    """Return each group's ``r2`` (against zero), ``rmse``, ``mae`` and the rows, assets and months behind them."""
    groups = len(pairs.labels)
    error = pairs.outcome - pairs.prediction
    observations = np.bincount(pairs.group, minlength=groups)
    squared = np.bincount(pairs.group, error**2, minlength=groups)
    return pd.DataFrame(
        {
            "r2": r2(pairs, np.zeros(len(error))),
            "rmse": np.sqrt(ratio(squared, observations)),
            "mae": ratio(np.bincount(pairs.group, np.abs(error), minlength=groups), observations),
            "observations": observations,
            "assets": count_distinct(pairs.group, pairs.asset, groups),
            "months": count_distinct(pairs.group, pairs.month - pairs.month.min(initial=0), groups),
            "skipped": np.bincount(pairs.every_group[~pairs.known], minlength=groups),
        }
    )


def r2(pairs: Pairs, benchmark: FloatArray) -> FloatArray:
    """Return 1 - sum (R - R^)^2 / sum (R - benchmark)^2 of each group, over the rows that have a benchmark."""
    groups = len(pairs.labels)
    there = ~np.isnan(benchmark)
    group, outcome = pairs.group[there], pairs.outcome[there]
    own = np.bincount(group, (outcome - pairs.prediction[there]) ** 2, minlength=groups)
    other = np.bincount(group, (outcome - benchmark[there]) ** 2, minlength=groups)
    return 1.0 - ratio(own, other)


def monthly_ics(pairs: Pairs) -> pd.DataFrame:
    """Return each month's Spearman rank correlation of forecast and outcome: columns ``group``, ``month``, ``ic``.

    Ties share their mean rank. A month in which either side does not vary has no correlation and no row.
    """
    first_month = pairs.month.min(initial=0)
    span = int(pairs.month.max(initial=0) - first_month) + 1
    cell, cells = pd.factorize(pairs.group * span + pairs.month - first_month, sort=True)
    middle = (np.bincount(cell, minlength=len(cells)) + 1) / 2
    prediction = _ranks(pairs.prediction, cell) - middle[cell]
    outcome = _ranks(pairs.outcome, cell) - middle[cell]
    covariance = np.bincount(cell, prediction * outcome, minlength=len(cells))
    scale = np.sqrt(np.bincount(cell, prediction**2, minlength=len(cells))) * np.sqrt(
        np.bincount(cell, outcome**2, minlength=len(cells))
    )
    ics = pd.DataFrame(
        {"group": cells // span, "month": month_column(cells % span + first_month), "ic": ratio(covariance, scale)}
    )
    return ics.dropna(ignore_index=True)


def _ranks(values: FloatArray, cell: IntArray) -> FloatArray:
    ranks: FloatArray = pd.Series(values).groupby(cell).rank().to_numpy().astype(np.float64)
    return ranks
