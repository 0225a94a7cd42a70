"""Month arithmetic. Inside factor_ray a month is an int32: the number of months since 1970-01."""

from __future__ import annotations

import re
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
import pandas as pd

from factor_ray.errors import InputError

MonthArray = npt.NDArray[np.int32]

_WRITTEN = re.compile(r"^(\d{4})-(\d{2})$")


def parse_month(text: str) -> int:
    """Return the month written as ``YYYY-MM``.

    Raises
    ------
    InputError
        If the text has another form or no such month exists.
    """
    match = _WRITTEN.match(text)
    if match is None or not 1 <= int(match[2]) <= 12:
        raise InputError(f"a month must be written YYYY-MM, as in 2010-12; got {text!r}")
    return (int(match[1]) - 1970) * 12 + int(match[2]) - 1


def format_month(month: int) -> str:
    """Write a month as ``YYYY-MM``."""
    year, zero_based = divmod(int(month), 12)
    return f"{year + 1970:04d}-{zero_based + 1:02d}"


def year_of(month: int) -> int:
    """Return the calendar year of a month."""
    return int(month) // 12 + 1970


def month_ends(months: Iterable[int]) -> npt.NDArray[np.datetime64]:
    """Return each month's last day as ``datetime64[D]`` (what files hold)."""
    following = (np.asarray(list(months), dtype=np.int64) + 1).astype("datetime64[M]").astype("datetime64[D]")
    return np.asarray(following - np.timedelta64(1, "D"), dtype="datetime64[D]")


def to_months(values: object, *, column: str = "month") -> MonthArray:
    """Read a column of dates as months, whatever a user's file calls a month.

    Understood are datetimes, periods, ``YYYY-MM`` or full ISO dates as text, and whole numbers ``yyyymm`` or
    ``yyyymmdd``. The day is dropped: a date belongs to its month.

    Raises
    ------
    InputError
        If a value is missing or cannot be read; the sentence names the column and the first such value.
    """
    series = pd.Series(values)
    if len(series) == 0:
        return np.empty(0, dtype=np.int32)
    if isinstance(series.dtype, pd.PeriodDtype):
        dates = series.dt.to_timestamp()
    elif pd.api.types.is_numeric_dtype(series.dtype):
        dates = _dates_from_numbers(series, column)
    else:
        dates = _dates_from_text(series, column)
    if bool(dates.isna().any()):
        first = series[dates.isna()].iloc[0]
        raise InputError(
            f"column {column!r} must hold months (dates, YYYY-MM or yyyymm); got {first!r}: mend or remove that row"
        )
    return np.asarray(dates, dtype="datetime64[M]").astype(np.int64).astype(np.int32)


def _dates_from_numbers(series: pd.Series, column: str) -> pd.Series:
    numbers = series.astype("float64")
    if bool(numbers.isna().any()) or bool((numbers % 1 != 0).any()):
        bad = numbers[numbers.isna() | (numbers % 1 != 0)].iloc[0]
        raise InputError(f"column {column!r} must hold months as whole numbers yyyymm or yyyymmdd; got {bad!r}")
    written = numbers.astype("int64").astype(str)
    return pd.to_datetime(written.where(written.str.len() == 8, written + "01"), format="%Y%m%d", errors="coerce")


def _dates_from_text(series: pd.Series, column: str) -> pd.Series:
    try:
        return pd.Series(pd.to_datetime(series, format="ISO8601", utc=False))
    except (ValueError, TypeError):
        digits = series.astype(str)
        if bool(digits.str.fullmatch(r"\d{6}|\d{8}").all()):
            return _dates_from_numbers(digits.astype("int64"), column)
        return pd.Series(pd.to_datetime(series, format="mixed", errors="coerce", dayfirst=False))
