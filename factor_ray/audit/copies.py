"""Perturbed copies of dated files in any of the formats that the sources read.

Every number of a row dated after a month is multiplied by a lognormal: signs, zeros, missing values and letter codes
stay, so that loaders take the copy as they took the file. Or such rows are left out.
"""

from __future__ import annotations

import io
import re
import warnings
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import openpyxl
import pandas as pd
import polars as pl

from factor_ray.data.digests import digest
from factor_ray.data.months import to_months
from factor_ray.data.sources._files import is_workbook, read_bytes, read_text
from factor_ray.data.sources.daily_layouts import read_layout
from factor_ray.errors import InputError

Change = Literal["noise", "deletion"]

_SPREAD, _DAILY_SPREAD = 0.5, 0.02
_LOWEST_RETURN, _HIGHEST_RETURN = -0.9, 3.0
_DATES = ("yyyymm", "mthcaldt", "dlstdt", "date", "sasdate", "month", "time", "dates")
_FIELDS = {name: name.capitalize() for name in ("open", "high", "low", "close", "volume")} | {"adjusted": "Adj Close"}
_RETURNS = frozenset({"ret", "mthret", "dlret"})
_KEYS = frozenset({"permno", "permco", "exchcd", "primaryexch", "shrcd", "siccd", "dlstcd", "ticker", "cusip", "asset"})
_CODES = (-99.99, -999.0, -99.0, -88.0, -77.0, -66.0, -55.0, -44.0)  # of missing values, French's and CRSP's
_MONTHLY, _ANNUAL = re.compile(r"^\s*(\d{4})(\d{2})(?:\d{2})?\s*[,\s]"), re.compile(r"^\s*(\d{4})\s*[,\s]")
_NUMBER = re.compile(r"[-+]?\d+\.?\d*(?:[eE][-+]?\d+)?")


def perturbed_copy(path: Path, month: int, change: Change, folder: Path) -> Path:
    """Write a copy of a dated file, or of a folder of them, in which nothing after a month is as it was.

    Parameters
    ----------
    path : Path
        Delimited text (packed or not; several tables in one, as French's), Parquet or xlsx; or a folder of such.
    month : int
        Months since 1970-01; what is dated in it or before stays as it is, to the byte in text.
    change : "noise" or "deletion"
    folder : Path
        Where the copy is put, under the file's name (unpacked).

    Raises
    ------
    InputError
        If the file holds no dates.
    """
    if path.is_dir():
        (folder / path.name).mkdir(parents=True, exist_ok=True)
        for file in sorted(entry for entry in path.iterdir() if entry.is_file()):
            perturbed_copy(file, month, change, folder / path.name)
        return folder / path.name
    folder.mkdir(parents=True, exist_ok=True)
    content, stream = read_bytes(path), _stream(path.name, month)
    name = path.name.removesuffix(".gz").removesuffix(".bz2")
    copy = folder / (Path(name).with_suffix(".csv").name if name.lower().endswith(".zip") else name)
    if is_workbook(content):
        _workbook(content, month, change, stream, copy)
    elif content.startswith(b"PAR1"):
        frame = pl.read_parquet(io.BytesIO(content))
        _table(path, frame, month, change, stream).write_parquet(copy)
    else:
        text = read_text(path)
        copy.write_text(_text(path, text, month, change, stream), encoding="utf-8")
    return copy


def perturbed_daily_copy(path: Path, month: int, change: Change, folder: Path) -> Path:
    """Write daily prices of any layout as a long table, in which prices after a month are noise or are left out."""
    folder.mkdir(parents=True, exist_ok=True)
    if path.is_dir():
        files = sorted(file for file in path.iterdir() if file.is_file() and not file.name.startswith("."))
        frame = pl.concat(read_layout(file, file.name.split(".")[0]) for file in files)
    else:
        frame = read_layout(path)
    fields = {
        "open": "Open",
        "high": "High",
        "low": "Low",
        "close": "Close",
        "volume": "Volume",
        "adjusted": "Adj Close",
    }
    given = [name for name in fields if frame[name].null_count() < len(frame)]
    later_N = to_months(frame["date"].to_pandas(), column="date") > month
    if change == "deletion":
        frame = frame.filter(~later_N)
    else:
        # One draw a row: a high stays above its low.
        factor_N = np.where(later_N, np.exp(_stream(path.name, month).normal(0, _DAILY_SPREAD, len(frame))), 1.0)
        frame = frame.with_columns(pl.col(given) * pl.Series(factor_N))
    copy = folder / f"{path.name.split('.')[0]}.parquet"
    renamed = {"date": "Date", "asset": "Ticker"} | {name: _FIELDS[name] for name in given}
    frame.select(list(renamed)).rename(renamed).write_parquet(copy)
    return copy


def _stream(name: str, month: int) -> np.random.Generator:
    return np.random.default_rng(int(digest([name, month])[:15], 16))


def _text(path: Path, text: str, month: int, change: Change, stream: np.random.Generator) -> str:
    """One table with a header that names its date; else lines, each dated by its first field."""
    header = text.lstrip("\n").split("\n", 1)[0]
    delimiter = max(",;\t", key=header.count)
    names = [name.strip().strip('"').lower() for name in header.split(delimiter)]
    if any(name in names for name in _DATES) and not _dated_lines_before_header(text):
        frame = pl.read_csv(io.StringIO(text.lstrip("\n")), separator=delimiter, infer_schema=False)
        return _table(path, frame, month, change, stream).write_csv(separator=delimiter)
    lines = []
    for line in text.split("\n"):
        if not _is_later(line, month):
            lines.append(line)
        elif change == "noise":
            first = _MONTHLY.match(line) or _ANNUAL.match(line)
            assert first is not None
            lines.append(line[: first.end()] + _NUMBER.sub(lambda m: _noisy(m[0], stream), line[first.end() :]))
    return "\n".join(lines)


def _dated_lines_before_header(text: str) -> bool:
    return bool(_MONTHLY.match(text.lstrip("\n")))


def _is_later(line: str, month: int) -> bool:
    """Whether a line's date lies after a month; a year does where its last month does."""
    if match := _MONTHLY.match(line):
        return (int(match[1]) - 1970) * 12 + int(match[2]) - 1 > month
    match = _ANNUAL.match(line)
    return match is not None and (int(match[1]) - 1970) * 12 + 11 > month


def _noisy(number: str, stream: np.random.Generator) -> str:
    value = float(number)
    return number if value in _CODES else f"{value * np.exp(stream.normal(0, _SPREAD)):.6g}"


def _table(path: Path, frame: pl.DataFrame, month: int, change: Change, stream: np.random.Generator) -> pl.DataFrame:
    lower = {name.strip().lower(): name for name in reversed(frame.columns)}
    date = next((lower[name] for name in _DATES if name in lower), frame.columns[0])
    later_N = _months(path, frame[date], date) > month
    if change == "deletion":
        return frame.filter(~later_N)
    for name in frame.columns:
        if name != date and name.strip().lower() not in _KEYS:
            frame = frame.with_columns(_noisy_column(frame[name], later_N, stream))
    return frame


def _months(path: Path, dates: pl.Series, name: str) -> npt.NDArray[np.int64]:
    """Months of the distinct dates, row by row; blank ones are before all others."""
    distinct = dates.unique().drop_nulls()
    try:
        months = to_months(pd.Series(distinct.to_list()), column=name)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    by_date = dict(zip(distinct.to_list(), months.tolist(), strict=True))
    return np.array([by_date.get(date, -(10**6)) for date in dates.to_list()], dtype=np.int64)


def _noisy_column(column: pl.Series, later_N: npt.NDArray[np.bool_], stream: np.random.Generator) -> pl.Series:
    values_N = column.cast(pl.Float64, strict=False).fill_null(np.nan).to_numpy()
    factor_N = np.exp(stream.normal(0, _SPREAD, len(values_N)))
    made_N = values_N * factor_N
    if column.name.strip().lower() in _RETURNS:
        made_N = np.clip(made_N, _LOWEST_RETURN, _HIGHEST_RETURN)
    changed_N = later_N & np.isfinite(values_N) & ~np.isin(values_N, _CODES)
    if not changed_N.any():
        return column
    kept = column if column.dtype == pl.String or column.dtype.is_float() else column.cast(pl.Float64)
    drawn = pl.Series(column.name, made_N).cast(kept.dtype)
    return pl.select(pl.when(pl.Series(changed_N)).then(drawn).otherwise(kept).alias(column.name)).to_series()


def _workbook(content: bytes, month: int, change: Change, stream: np.random.Generator, copy: Path) -> None:
    """Rows whose first cell is a later month are changed, in every sheet."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of headers, styles and validations, which are no data
        book = openpyxl.load_workbook(io.BytesIO(content), data_only=True)
    for sheet in book.worksheets:
        later = [row for row in sheet.iter_rows() if row and _is_later(f"{_written(row[0].value)},", month)]
        if change == "deletion" and later:
            _delete_rows(sheet, [row[0].row for row in later])
        elif change == "noise":
            for row in later:
                for cell in row[1:]:
                    if isinstance(cell.value, int | float) and not isinstance(cell.value, bool):
                        cell.value = float(cell.value) * float(np.exp(stream.normal(0, _SPREAD)))
    book.save(copy)


def _delete_rows(sheet: Any, rows: list[int]) -> None:
    """Rows from the last one up, run by run: later months mostly stand together."""
    stop = start = rows[-1]
    for row in [*reversed(rows[:-1]), -1]:
        if row == start - 1:
            start = row
        else:
            sheet.delete_rows(start, stop - start + 1)
            stop = start = row


def _written(value: object) -> str:
    if hasattr(value, "strftime"):
        return str(value.strftime("%Y%m"))
    return f"{value:.0f}" if isinstance(value, float) else str(value)
