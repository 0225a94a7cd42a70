"""What several levels of one forecast say together: crossing, its repair, and the expected shortfall they imply."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from factor_ray.errors import InputError
from factor_ray.evaluation.tables import FloatArray, numbers, ratio, require_columns, require_unique

FORECAST = ("model", "horizon", "kind")


def crossing_rates(table: pd.DataFrame, *, by: Sequence[str] = FORECAST) -> pd.DataFrame:
    """How often quantiles of a higher level lie below those of the next lower one.

    Parameters
    ----------
    table : DataFrame
        Columns ``month``, ``asset``, ``tau``, ``prediction`` and those of ``by``; one row for each (by, month, asset,
        tau). Missing predictions are left out.
    by : sequence of str
        Columns that tell forecasts apart.

    Returns
    -------
    DataFrame
        The columns of ``by``; ``crossing_rate``, the share of pairs of adjacent levels that cross; ``crossed``, the
        share of (month, asset) with a crossing; ``pairs`` and ``observations`` behind the two. Only (month, asset) with
        two levels or more count.

    Raises
    ------
    InputError
        If columns are missing or rows are repeated.
    """
    rows, _ = _sorted(table, by)
    beside = np.diff(rows["cell"], append=-1) == 0  # whether the next row is the next level
    crosses = beside & (np.diff(rows["prediction"], append=np.nan) < 0.0)
    cell = np.cumsum(np.diff(rows["cell"], prepend=-1) != 0) - 1
    first = np.flatnonzero(np.diff(cell, prepend=-1))
    assets = rows[list(by)].iloc[first].assign(sum=np.bincount(cell, crosses), size=np.bincount(cell, beside))
    assets = assets[assets["size"] > 0].astype({"sum": np.int64, "size": np.int64})
    rates = (
        assets.assign(crossed=assets["sum"] > 0)
        .groupby(list(by), dropna=False)
        .agg(
            crossings=("sum", "sum"), pairs=("size", "sum"), crossed=("crossed", "mean"), observations=("size", "size")
        )
        .reset_index()
    )
    rates["crossing_rate"] = ratio(rates["crossings"], rates["pairs"])
    return rates[[*by, "crossing_rate", "crossed", "pairs", "observations"]]


def rearrange(table: pd.DataFrame, *, by: Sequence[str] = FORECAST) -> pd.DataFrame:
    """Sort the quantiles of each (month, asset), so that they rise with tau.

    Rearranged quantiles are never farther from the true ones (Chernozhukov, Fernandez-Val and Galichon 2010).

    Parameters
    ----------
    table : DataFrame
        As in :func:`crossing_rates`.
    by : sequence of str
        Columns that tell forecasts apart.

    Returns
    -------
    DataFrame
        The table, its rows and index as they were, with ``prediction`` rearranged; missing ones stay missing.

    Raises
    ------
    InputError
        If columns are missing or rows are repeated.
    """
    rows, _ = _sorted(table, by)
    ordered = rows["prediction"].to_numpy()[np.lexsort([rows["prediction"], rows["cell"]])]
    prediction = np.full(len(table), np.nan)
    # Both orders run through the same (month, asset) blocks, one by level, the other by value.
    prediction[rows["place"].to_numpy()] = ordered
    return table.assign(prediction=prediction)


def expected_shortfall(table: pd.DataFrame, tau: float, *, by: Sequence[str] = FORECAST) -> pd.DataFrame:
    """Mean return in the lower tail that the quantiles up to level tau imply.

    ``ES = (1/tau) times the integral of q(u) over u in (0, tau)``, with q rearranged, linear between levels and
    constant below the lowest. The last makes the tail too thin: give levels well below tau (.005 or .01 for .05).

    Parameters
    ----------
    table : DataFrame
        As in :func:`crossing_rates`; levels above tau are not used.
    tau : float
        Level of the shortfall; the table must hold it.
    by : sequence of str
        Columns that tell forecasts apart.

    Returns
    -------
    DataFrame
        The columns of ``by``, ``month``, ``asset`` and ``expected_shortfall`` (a return in decimals, usually
        negative), for each (month, asset) with all the levels.

    Raises
    ------
    InputError
        If tau is not among the levels, columns are missing or rows are repeated.
    """
    rows, keys = _sorted(rearrange(table, by=by), by)
    if not (rows["tau"] == tau).any():
        raise InputError(
            f"tau must be one of the levels of the quantiles; got {tau!r} beside {sorted(set(rows['tau']))}"
        )
    tail = rows[rows["tau"] <= tau].pivot_table(index=keys, columns="tau", values="prediction").dropna()
    levels, quantiles = tail.columns.to_numpy(dtype=np.float64), tail.to_numpy(dtype=np.float64)
    return tail.index.to_frame(index=False).assign(expected_shortfall=_mean_up_to(levels, quantiles))


def _sorted(table: pd.DataFrame, by: Sequence[str]) -> tuple[pd.DataFrame, list[str]]:
    """Rows with a prediction, in the order of (by, month, asset, tau); and these columns without tau.

    ``cell`` numbers (by, month, asset) in that order, ``place`` the rows of the table.
    """
    keys = [*by, "month", "asset"]
    require_columns(table, [*keys, "tau", "prediction"], "quantiles")
    tau = numbers(table, "tau", "quantiles")
    level, _ = pd.factorize(tau, sort=True, use_na_sentinel=False)
    cell = np.zeros(len(table), dtype=np.int64)
    for key in keys:
        code, labels = pd.factorize(table[key], sort=True, use_na_sentinel=False)
        cell = cell * len(labels) + code
    order = np.lexsort([level, cell])
    codes = table[[*keys, "tau"]].reset_index(drop=True)
    if ((np.diff(cell[order]) == 0) & (np.diff(level[order]) == 0)).any():
        remedy = "add the column that tells them apart to by=..., or keep one of them"
        require_unique(codes, codes, "quantiles", remedy)
    prediction = numbers(table, "prediction", "quantiles")
    rows = codes.assign(tau=tau, prediction=prediction, cell=cell, place=np.arange(len(table))).iloc[order]
    return rows.dropna(subset="prediction").reset_index(drop=True), keys


def _mean_up_to(levels: FloatArray, quantiles: FloatArray) -> FloatArray:
    """Trapezoids between the levels, a rectangle below the lowest, over the highest level."""
    middle = (quantiles[:, 1:] + quantiles[:, :-1]) / 2.0 @ np.diff(levels)
    mean: FloatArray = (quantiles[:, 0] * levels[0] + middle) / levels[-1]
    return mean
