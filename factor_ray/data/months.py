"""Month arithmetic. Inside factor_ray a month is an int32: the number of months since 1970-01."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

import numpy as np
import numpy.typing as npt
import pandas as pd

from factor_ray.errors import InputError

MonthArray = npt.NDArray[np.int32]

_WRITTEN = re.compile(r"(\d{4})-(\d{2})")
_DIGITS = {r"\d{6}": "%Y%m", r"\d{8}": "%Y%m%d"}
_LONGER_PERIODS = ("period[W", "period[Q", "period[Y", "period[A")
_TEXT = {r"\d{4}-\d{2}(-\d{2}([ T].*)?)?": "ISO8601", r"\d{1,2}/\d{1,2}/\d{4}": "%m/%d/%Y"}


def parse_month(text: str) -> int:
    """Return the month written as ``YYYY-MM``.

    Raises
    ------
    InputError
        If the text has another form or no such month exists.
    """
    match = _WRITTEN.fullmatch(text)
    if match is None or not 1 <= int(match[2]) <= 12:
        raise InputError(f"a month must be written YYYY-MM, as in 2010-12; got {text!r}")
    return (int(match[1]) - 1970) * 12 + int(match[2]) - 1


def format_month(month: int) -> str:
    """Write a month as ``YYYY-MM``."""
    year, zero_based = divmod(int(month), 12)
    return f"{year + 1970:04d}-{zero_based + 1:02d}"


def no_month_left(source: object, first: str, last: str, start: str | None, end: str | None) -> str:
    """Return the sentence for a source of which ``data.start`` and ``data.end`` leave no month."""
    asked = " and ".join(f"data.{key} {month}" for key, month in (("start", start), ("end", end)) if month is not None)
    return f"{source} reaches from {first} to {last}, of which {asked} leaves no month: change data.start or data.end"


def month_ends(months: Iterable[int]) -> npt.NDArray[np.datetime64]:
    """Return each month's last day as ``datetime64[D]`` (what files hold)."""
    following = (np.asarray(list(months), dtype=np.int64) + 1).astype("datetime64[M]").astype("datetime64[D]")
    return np.asarray(following - np.timedelta64(1, "D"), dtype="datetime64[D]")


def to_months(values: object, *, column: str = "month") -> MonthArray:
    """Read a column of dates as months, whatever a user's file calls a month.

    Understood are datetimes, monthly or daily periods, whole numbers ``yyyymm`` or ``yyyymmdd``, and text, written
    alike in every row: ``YYYY-MM``, ISO dates, ``yyyymm``, ``yyyymmdd`` or ``month/day/year``. The day is dropped: a
    date belongs to its month. Years and quarters are refused: what they hold is not known in their first month.

    Raises
    ------
    InputError
        If a value is missing or cannot be read; the sentence names the column and the first such value.
    """
    series = pd.Series(values)
    if len(series) == 0:
        return np.empty(0, dtype=np.int32)
    missing = series.isna().to_numpy()
    if missing.any():
        raise InputError(
            f"column {column!r} must hold a month in every row; row {int(missing.argmax()) + 1} below the header is "
            "empty: mend or remove that row"
        )
    codes, distinct = pd.factorize(series)
    written = pd.Series(distinct)
    dates = _dates(written)
    unread = dates.isna().to_numpy()
    if unread.any():
        raise InputError(
            f"column {column!r} must hold months (dates, YYYY-MM or yyyymm), written alike in every row; "
            f"got {_shown(written.iloc[int(unread.argmax())])}: mend or remove that row"
        )
    return np.asarray(dates, dtype="datetime64[M]").astype(np.int64).astype(np.int32)[codes]


def _dates(written: pd.Series) -> pd.Series:
    """Dates of distinct values; NaT where a value cannot be read."""
    if isinstance(written.dtype, pd.PeriodDtype):
        if str(written.dtype).startswith(_LONGER_PERIODS):
            return pd.Series(pd.NaT, index=written.index)
        return pd.Series(written.dt.to_timestamp())
    if pd.api.types.is_datetime64_any_dtype(written.dtype):
        return pd.Series(written.dt.tz_localize(None))
    if pd.api.types.infer_dtype(written) in ("date", "datetime"):
        return pd.Series([pd.Timestamp(value.year, value.month, 1) for value in written])
    if pd.api.types.is_numeric_dtype(written.dtype):
        whole = written.astype("float64") % 1 == 0
        digits = written.where(whole, 0).astype("float64").map("{:.0f}".format)
        return _dates_from_text(digits, _DIGITS)
    return _dates_from_text(written.astype(str).str.strip(), {**_DIGITS, **_TEXT})


def _dates_from_text(text: pd.Series, forms: Mapping[str, str]) -> pd.Series:
    """Read all values the way the first one is written: a guess by value would read 201012 as 2020-10-12."""
    pattern = next((pattern for pattern in forms if re.fullmatch(pattern, text.iloc[0])), None)
    if pattern is None:
        return pd.Series(pd.NaT, index=text.index)
    alike = text.where(text.str.fullmatch(pattern)).str.slice(0, 10)
    return pd.Series(pd.to_datetime(alike, format=forms[pattern], errors="coerce"))


def _shown(value: object) -> str:
    return repr(value) if isinstance(value, str) else str(value)
