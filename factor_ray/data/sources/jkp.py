"""Jensen, Kelly and Pedersen's factor returns, one row per factor and month."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from factor_ray.data.sources._files import months_of, to_numbers
from factor_ray.data.sources.monthly_table import read_table
from factor_ray.errors import InputError

_CHOICES = ("location", "weighting")


def jkp_factors(path: str | Path, *, location: str | None = None, weighting: str | None = None) -> pd.DataFrame:
    """Read monthly factors of the JKP Global Factor Data (CSV, zip or Parquet) as months x factors.

    Parameters
    ----------
    path
        The long table with the columns name, date and ret, and, where it holds several of them, location, weighting
        and freq.
    location, weighting
        Which to take (``usa``, ``vw_cap``); needed where the file holds several.

    Returns
    -------
    DataFrame
        Months (PeriodIndex named ``month``) x factors in alphabetical order, float64: long-short returns in decimals,
        signed as the file has them (already in the direction of the original paper); NaN where a factor is absent.

    Raises
    ------
    InputError
        If columns are absent, the file holds several locations or weightings and none is chosen, is not monthly, a
        factor has a month twice, or returns exceed 500% in a month.

    References
    ----------
    Jensen, Kelly and Pedersen (2023), Journal of Finance 78(5).
    """
    path = Path(path)
    table = read_table(path)
    absent = [name for name in ("name", "date", "ret") if name not in table.columns]
    if absent:
        raise InputError(f"{path} has no column {absent[0]!r}; JKP's long tables have name, date and ret: give one")
    for column, choice in zip(_CHOICES, (location, weighting), strict=True):
        table = _chosen(path, table, column, choice)
    if "freq" in table and set(table["freq"]) != {"monthly"}:
        raise InputError(f"{path} must be monthly; its freq is {sorted(set(table['freq']))}: download the monthly file")
    table = table.set_axis(months_of(path, "date", table["date"]), axis="index")
    keys = pd.MultiIndex.from_arrays([table.index, table["name"]], names=["month", None])
    if keys.has_duplicates:
        month, name = keys[keys.duplicated()][0]
        raise InputError(f"{path} has factor {name!r} twice in {month}: remove one or choose a location and weighting")
    returns = to_numbers(path, table[["ret"]])["ret"].set_axis(keys)
    large = returns[returns.abs() > 5.0]
    if len(large):
        month, name = large.index[0]
        raise InputError(
            f"{path}: 'ret' must be decimals; {name!r} is {large.iloc[0]} in {month}: divide percent by 100"
        )
    wide = returns.unstack().sort_index(axis="columns")  # noqa: PD010 - a pivot would average, and hide, repeated keys
    return wide.reindex(pd.period_range(wide.index.min(), wide.index.max(), freq="M", name="month"))


def _chosen(path: Path, table: pd.DataFrame, column: str, choice: str | None) -> pd.DataFrame:
    if column not in table:
        return table
    held = sorted(set(table[column]))
    if choice is None and len(held) == 1:
        return table
    if choice not in held:
        raise InputError(f"{path} holds several or other {column}s, {held}; got {choice!r}: choose one by `{column}`")
    return table.loc[table[column] == choice]
