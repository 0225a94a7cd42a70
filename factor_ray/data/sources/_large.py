"""Large CSV and Parquet tables of assets and months: only the rows and columns that are asked for are read."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl

from factor_ray.data.months import to_months
from factor_ray.data.panel_rules import existing_file
from factor_ray.data.sources._files import is_workbook, read_bytes, read_text, require_whole
from factor_ray.errors import InputError

MonthSpan = tuple[int | None, int | None]
"""First and last month to read, both included; None is without limit."""

_MISSING = ["", ".", "NA", "N/A", "NaN", "nan", "null", "NULL"]
_UNPACKED_FIRST = (b"PK", b"\x1f\x8b", b"BZh", b"\xff\xfe", b"\xfe\xff")
_CELL = re.compile(r"could not parse `(?P<cell>.*?)` as dtype .*? at column '(?P<column>.*?)'", re.DOTALL)
_HEADER_BYTES = 1 << 16


@dataclass(frozen=True)
class LargeTable:
    """A CSV or Parquet file whose columns are known and whose rows are not read yet; build one with `open`.

    Attributes
    ----------
    path : Path
    columns : tuple of str
    delimiter : str or None
        None for Parquet.
    content : bytes or None
        The table itself where the file is an archive or not UTF-8.
    """

    path: Path
    columns: tuple[str, ...]
    delimiter: str | None
    content: bytes | None

    @classmethod
    def open(cls, path: Path) -> LargeTable:
        """Read the names of the columns.

        Raises
        ------
        InputError
            If there is no such file, it is neither CSV (comma, semicolon, tab; also archived) nor Parquet, or two
            columns have one name.
        """
        if path.is_dir():
            raise InputError(f"{path} is a folder, and a file was expected: give the path of the file itself")
        content: bytes | None = None
        try:
            with existing_file(path).open("rb") as file:
                head = file.read(_HEADER_BYTES)
        except OSError as error:
            raise InputError(f"{path} cannot be read ({error.strerror}): mend its permissions or its disk") from error
        if head.startswith(_UNPACKED_FIRST):
            content = read_bytes(path)
            if is_workbook(content):
                raise InputError(f"{path} is an Excel workbook, and a table was expected: save it as CSV (UTF-8)")
            head = content = content if content.startswith(b"PAR1") else read_text(path).encode()
        if not head.strip():
            raise InputError(f"{path} is empty, and a table was expected: download it again")
        if head.startswith(b"PAR1"):
            names, delimiter = _parquet_names(path, content), None
        else:
            if b"\x00" in head:
                raise InputError(f"{path} is not a text file (it holds zero bytes): save it as CSV (UTF-8)")
            line = head.lstrip(b"\xef\xbb\xbf").split(b"\n", 1)[0]
            names, delimiter = _csv_names(path, line)
            tail = _tail(path) if content is None else content[-_HEADER_BYTES:]
            require_whole(path, line.decode(), tail.decode(errors="replace"), delimiter)
        repeated = next((name for name in names if names.count(name) > 1), None)
        if repeated is not None:
            raise InputError(f"{path} has two columns named {repeated!r}: rename or remove one")
        return cls(path, tuple(names), delimiter, content)

    def find(self, *names: str) -> str | None:
        """Return the column with the first of these names that there is, whatever its case."""
        lower = {name.lower(): name for name in reversed(self.columns)}
        return next((lower[name.lower()] for name in names if name.lower() in lower), None)

    def require(self, *names: str) -> str:
        """Return the column that `find` finds.

        Raises
        ------
        InputError
            If there is none.
        """
        found = self.find(*names)
        if found is None:
            raise InputError(
                f"{self.path} has no column {names[0]!r}; its columns are {', '.join(self.columns[:12])}: rename the "
                "one that is meant"
            )
        return found

    def read(
        self, asset: str, month: str, values: Sequence[str], texts: Sequence[str] = (), *, span: MonthSpan
    ) -> pl.DataFrame:
        """Read the rows of a span of months.

        Parameters
        ----------
        asset, month : str
            Columns of whole-numbered identifiers, and of dates (all that `to_months` understands).
        values, texts : sequence of str
            Columns to read as float32, and as text.
        span : (int or None, int or None)

        Returns
        -------
        polars.DataFrame
            permno (int64), month (int32), then the columns by their own names; a missing value is null.

        Raises
        ------
        InputError
            If a cell is no number, an identifier no whole number, a date no month, or no row is left.
        """
        try:
            scan = self._scan(asset, month, values, texts)
            if span != (None, None) and len(values) > 1:
                # A first pass over the dates keeps the months that are not asked for out of memory.
                dates = scan.select(pl.col("month").unique()).collect()["month"].drop_nulls()
                kept = [date for date, within in self._within(month, dates, span).items() if within is not None]
                within = pl.col("month").is_in(pl.Series(kept, dtype=dates.dtype).implode())
                scan = scan.filter(within | pl.col("month").is_null())
            frame = scan.collect()
        except (pl.exceptions.PolarsError, OSError) as error:
            raise self._refusal(error) from error
        if frame["month"].null_count():
            frame = frame.filter(~pl.all_horizontal(pl.all().is_null()))  # blank lines, as spreadsheets leave them
        dates = frame["month"].unique()
        months = self._within(month, dates, span)
        by_date = pl.DataFrame([dates, pl.Series("number", [months[date] for date in dates], dtype=pl.Int32)])
        frame = frame.with_columns(
            frame["month"].replace_strict(by_date["month"], by_date["number"], return_dtype=pl.Int32)
        ).filter(pl.col("month").is_not_null())
        if frame.is_empty():
            if span == (None, None):
                raise InputError(f"{self.path} holds no rows below its column names: download it again")
            raise InputError(f"{self.path} has no row of the months that are asked for: check data.start and data.end")
        identifiers = frame["permno"]
        if identifiers.null_count() or bool((identifiers % 1 != 0).any()):
            raise InputError(f"{self.path}: column {asset!r} must hold a whole number in every row: mend the others")
        return frame.with_columns(pl.col("permno").cast(pl.Int64))

    def _scan(self, asset: str, month: str, values: Sequence[str], texts: Sequence[str]) -> pl.LazyFrame:
        columns = [pl.col(asset).alias("permno"), pl.col(month).alias("month"), *values, *texts]
        source = self.path if self.content is None else io.BytesIO(self.content)
        if self.delimiter is None:
            scan = pl.scan_parquet(source)
            held = scan.collect_schema()
            worded = next((n for n in (asset, *values) if not (held[n].is_numeric() or held[n] == pl.Null)), None)
            if worded is not None:
                raise InputError(f"{self.path}: column {worded!r} must hold numbers; it holds {held[worded]}: mend it")
            scan = scan.with_columns(
                pl.col([*values]).cast(pl.Float32).fill_nan(None), pl.col([*texts]).cast(pl.String)
            )
            return scan.select(columns).with_columns(pl.col("permno").cast(pl.Float64))
        types: dict[str, type[pl.DataType]] = {asset: pl.Float64, month: pl.String}
        types |= dict.fromkeys(values, pl.Float32) | dict.fromkeys(texts, pl.String)
        return pl.scan_csv(
            source, separator=self.delimiter, null_values=_MISSING, schema_overrides=types, infer_schema_length=0
        ).select(columns)

    def _within(self, column: str, dates: pl.Series, span: MonthSpan) -> dict[Any, int | None]:
        """Read each distinct date as a month; None where it is outside the span."""
        if dates.null_count():
            raise InputError(
                f"{self.path}: column {column!r} must hold a month in every row: mend or remove the others"
            )
        try:
            months = to_months(pd.Series(dates.to_list()), column=column)
        except InputError as error:
            raise InputError(f"{self.path}: {error}") from error
        first, last = span
        return {
            date: int(month) if (first is None or month >= first) and (last is None or month <= last) else None
            for date, month in zip(dates.to_list(), months, strict=True)
        }

    def _refusal(self, error: Exception) -> InputError:
        cell = _CELL.search(str(error))
        if cell is not None:
            return InputError(
                f"{self.path}: column {cell['column']!r} must hold numbers; got {cell['cell']!r}: mend it or leave the "
                "field empty"
            )
        if self.delimiter is not None and "utf-8" in str(error).lower():
            return InputError(f"{self.path} is not UTF-8 text: save it as CSV (UTF-8)")
        what = "a damaged or truncated Parquet file" if self.delimiter is None else "not one table in UTF-8"
        return InputError(f"{self.path} is {what} ({str(error).splitlines()[0]}): download it again")


def _tail(path: Path) -> bytes:
    with path.open("rb") as file:
        file.seek(0, io.SEEK_END)
        file.seek(max(0, file.tell() - _HEADER_BYTES))
        return file.read()


def _parquet_names(path: Path, content: bytes | None) -> list[str]:
    try:
        return list(pl.read_parquet_schema(path if content is None else io.BytesIO(content)))
    except (pl.exceptions.PolarsError, OSError) as error:
        raise InputError(f"{path} is a damaged or truncated Parquet file ({error}): download it again") from error


def _csv_names(path: Path, line: bytes) -> tuple[list[str], str]:
    try:
        header = line.decode("utf-8").rstrip("\r")
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is neither Parquet nor UTF-8 text: save it as CSV (UTF-8) or Parquet") from error
    delimiter = max(",;\t", key=header.count)
    if delimiter not in header:
        raise InputError(f"{path} must be delimited by commas, semicolons or tabs; its first line is {header[:60]!r}")
    return next(csv.reader([header], delimiter=delimiter)), delimiter
