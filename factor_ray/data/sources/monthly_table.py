"""Any plain table with one row a month: recession dates, downloaded factors, an author's own series."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from factor_ray.data.sources._files import (
    is_workbook,
    months_of,
    on_every_month,
    read_bytes,
    read_csv,
    read_workbook,
    to_numbers,
    with_header,
)
from factor_ray.errors import InputError

_MONTHS = ("month", "yyyymm", "date", "dates", "observation_date", "sasdate", "caldt", "mdate")


def monthly_table(path: str | Path, *, columns: Sequence[str] | None = None) -> pd.DataFrame:
    """Read a plain table of one row a month, values as they stand in the file.

    Parameters
    ----------
    path
        CSV (comma, semicolon or tab; also zipped), xlsx with one filled sheet, or Parquet. The month is in two columns
        ``year`` and ``month``; or in one named month, yyyymm, date, dates, observation_date, sasdate, caldt or mdate
        (case does not matter); or else in the first column.
    columns
        Names of the columns to read, in that order; None: all but the month.

    Returns
    -------
    DataFrame
        Months (PeriodIndex named ``month``, every month from first to last) x columns, float64, missing as NaN. A
        month that comes again with the same values in all columns read counts once; ``attrs["notes"]`` says so, and
        which months had no row.

    Raises
    ------
    InputError
        If the file cannot be read, a chosen column is absent, a cell is neither number nor blank, a month comes again
        with other values, or the rows are not monthly.
    """
    path = Path(path)
    table = read_table(path)
    lower = {str(name).lower(): name for name in table.columns}
    if "year" in lower and "month" in lower:
        dates = [lower["year"], lower["month"]]
        parts = to_numbers(path, table[dates]).set_axis(["year", "month"], axis="columns")
        if not bool(parts["month"].isin(range(1, 13)).all() and parts["year"].between(1000, 9999).all()):
            raise InputError(f"{path}: 'year' must be of four digits and 'month' 1 to 12 in every row: mend the others")
        index = months_of(path, "month", (parts["year"] * 100 + parts["month"]).astype("int64"))
    else:
        dates = [next((lower[name] for name in _MONTHS if name in lower), table.columns[0])]
        index = months_of(path, str(dates[0]), table[dates[0]])
    names = [name for name in table.columns if name not in dates] if columns is None else list(columns)
    absent = [name for name in names if name not in table.columns]
    if absent:
        raise InputError(f"{path} has no column {absent[0]!r}; it has {list(map(str, table.columns))}: name those")
    once, notes = _once_a_month(path, to_numbers(path, table[names].set_axis(index, axis="index")))
    values = on_every_month(path, once)
    absent_months = values.index.difference(once.index)
    values.attrs["notes"] = notes + [f"{path.name}: no row for {month}" for month in absent_months]
    return values


def read_table(path: Path) -> pd.DataFrame:
    """Return the cells of a CSV, xlsx (one filled sheet) or Parquet file as a frame with its column names.

    Raises
    ------
    InputError
        If the file is damaged, a workbook has not one filled sheet, or names repeat.
    """
    content = read_bytes(path)
    if content.startswith(b"PAR1"):
        try:
            table: pd.DataFrame = pq.read_table(pa.BufferReader(content)).to_pandas()
        except (pa.ArrowException, OSError) as error:
            raise InputError(f"{path} is a damaged or truncated Parquet file ({error}): download it again") from error
        return table
    if not is_workbook(content) and path.suffix.lower() not in (".xls", ".xlsx"):
        return read_csv(path)
    sheets = {title: cells for title, cells in read_workbook(path).items() if not cells.empty}
    if len(sheets) != 1:
        raise InputError(f"{path} must have one filled sheet; it has {list(sheets)}: save the one you want as CSV")
    return with_header(path, next(iter(sheets.values())))


def _once_a_month(path: Path, values: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    again = values.index.duplicated()
    copies, firsts = values.loc[again], values.loc[~again]
    differs = copies.ne(firsts.loc[copies.index]) & ~(copies.isna() & firsts.loc[copies.index].isna())
    differs = differs.loc[differs.any(axis=1)]
    if len(differs):
        month, column = differs.index[0], differs.columns[differs.iloc[0]][0]
        raise InputError(
            f"{path} has {month} more than once, with different values of {column!r}, and one row a month was "
            "expected: mend the file (dates may be daily, or written day first), or leave that column out"
        )
    return firsts, [f"{path.name}: {month} comes again with the same values and counts once" for month in copies.index]
