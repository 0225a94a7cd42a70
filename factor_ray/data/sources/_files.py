"""What every reader does first: open the file, split it into cells, and read cells as months and numbers."""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import re
import warnings
import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd

from factor_ray.data.months import to_months
from factor_ray.data.panel_rules import existing_file
from factor_ray.errors import InputError

_OLD_WORKBOOK = bytes.fromhex("d0cf11e0a1b11ae1")
_MISSING = frozenset({"", ".", "-", "na", "n/a", "#n/a", "nan", "null", "none"})
_THOUSANDS = re.compile(r"^[+-]?\d{1,3}(,\d{3})+(\.\d*)?$")
_AMERICAN = re.compile(r"^(\d{1,2})/(\d{1,2})/(\d{4})$")
_READABLE = r"\d{6}|\d{8}|\d{4}[-/]\d{2}([-/]\d{2}([ T].*)?)?"


def read_bytes(path: Path) -> bytes:
    """Return a file's content; a zip (with one data file in it), gzip or bzip2 file is opened, whatever its name.

    Raises
    ------
    InputError
        If there is no such file, it is empty, or the archive is damaged or holds anything but one data file.
    """
    if path.is_dir():
        raise InputError(f"{path} is a folder, and a file was expected: give the path of the file itself")
    try:
        content = existing_file(path).read_bytes()
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}): mend its permissions or its disk") from error
    try:
        if content.startswith(b"PK") and not is_workbook(content):
            content = _only_member(path, content)
        elif content.startswith(b"\x1f\x8b"):
            content = gzip.decompress(content)
        elif content.startswith(b"BZh"):
            content = bz2.decompress(content)
    except InputError:
        raise
    except (zipfile.BadZipFile, OSError, EOFError, ValueError, RuntimeError, zlib.error) as error:
        raise InputError(f"{path} is a damaged or truncated archive ({error}): download it again") from error
    if not content.strip():
        raise InputError(f"{path} is empty, and a table was expected: download it again")
    return content


def is_workbook(content: bytes) -> bool:
    """Whether the bytes are an Excel workbook (xlsx)."""
    if not content.startswith(b"PK") or not zipfile.is_zipfile(io.BytesIO(content)):
        return False
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return "[Content_Types].xml" in archive.namelist()


def read_text(path: Path) -> str:
    """Return a text file's content (UTF-8, or UTF-16 with its byte-order mark), its lines ended by line feeds.

    Raises
    ------
    InputError
        If the file is in another encoding, is a workbook, or `read_bytes` fails.
    """
    content = read_bytes(path)
    if is_workbook(content) or content.startswith(_OLD_WORKBOOK):
        raise InputError(f"{path} is an Excel workbook, and text was expected: save the sheet as CSV (UTF-8)")
    encoding = "utf-16" if content.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8-sig"
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path} is not UTF-8 text (byte {error.start} is {content[error.start]:#04x}): save it as CSV (UTF-8)"
        ) from error
    if "\x00" in text:
        raise InputError(f"{path} is not a text file (it holds zero bytes): save it as CSV (UTF-8)")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def read_csv(path: Path) -> pd.DataFrame:
    """Return a delimited text file (comma, semicolon or tab) as a frame of text cells, blank rows left out.

    Raises
    ------
    InputError
        If there is no delimiter, a line has more cells than the header, the last line breaks off, or two columns have
        one name.
    """
    text = read_text(path).lstrip("\n")
    header = text.split("\n", 1)[0]
    delimiter = max(",;\t", key=header.count)
    if delimiter not in header:
        raise InputError(
            f"{path} must be delimited by commas, semicolons or tabs; its first line is {header[:60]!r}: save it as CSV"
        )
    require_whole(path, header, text, delimiter)
    text = text.rstrip("\n")
    try:
        cells = pd.read_csv(
            io.StringIO(text),
            sep=delimiter,
            header=None,
            dtype=str,
            keep_default_na=False,
            skipinitialspace=True,
        )
    except (pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        told = str(error).splitlines()[0]
        raise InputError(f"{path} is not one table ({told}): every line needs as many cells as the header") from error
    return with_header(path, cells)


def require_whole(path: Path, header: str, text: str, delimiter: str) -> None:
    """Refuse a text whose last line breaks off within a row, as after a download that did not end.

    Raises
    ------
    InputError
        If the text does not end with a line feed and its last line has fewer cells than the header.
    """
    last = text.rsplit("\n", 1)[-1]
    expected, found = (len(next(csv.reader([line], delimiter=delimiter), [])) for line in (header, last))
    if last.strip() and found < expected:
        raise InputError(
            f"{path} breaks off: its last line, {last[:60]!r}, has {found} of {expected} cells: download it again"
        )


def read_workbook(path: Path) -> dict[str, pd.DataFrame]:
    """Return the sheets of an Excel workbook (xlsx) as frames of cells; formulas are their stored values.

    Raises
    ------
    InputError
        If the file is no workbook, is damaged, or is of Excel before 2007 (xls).
    """
    content = read_bytes(path)
    if content.startswith(_OLD_WORKBOOK):
        raise InputError(f"{path} is an Excel file of before 2007 (xls), which is not read: save it as xlsx or CSV")
    with warnings.catch_warnings():
        # openpyxl warns of headers, styles and validations it drops; none of them is data.
        warnings.simplefilter("ignore", UserWarning)
        try:
            sheets = pd.read_excel(
                io.BytesIO(content),
                sheet_name=None,
                header=None,
                dtype=object,
                keep_default_na=False,
                engine="openpyxl",
            )
        except (zipfile.BadZipFile, KeyError, ValueError, SyntaxError, OSError) as error:
            raise InputError(f"{path} is a damaged workbook ({error}): download it again") from error
    return {str(title): cells for title, cells in sheets.items()}


def with_header(path: Path, cells: pd.DataFrame) -> pd.DataFrame:
    """Take the first row of a frame of cells as column names; blank rows and nameless blank columns are left out.

    Raises
    ------
    InputError
        If there are no rows below the names, two columns have one name, or a column with values has none.
    """
    cells = cells.fillna("")
    filled = cells != ""
    cells, filled = cells.loc[filled.any(axis=1)], filled.loc[filled.any(axis=1)]
    if len(cells) < 2:
        raise InputError(f"{path} holds no rows below its column names: download it again or choose another sheet")
    names = [str(name).strip() for name in cells.iloc[0]]
    kept = [i for i, name in enumerate(names) if name or i == 0 or bool(filled.iloc[1:, i].any())]
    nameless = next((i for i in kept[1:] if not names[i]), None)
    if nameless is not None:
        raise InputError(f"{path} has no name for column {nameless + 1}, which holds values: give it one")
    table = cells.iloc[1:, kept].reset_index(drop=True)
    table.columns = pd.Index([names[i] for i in kept])
    repeated = table.columns[table.columns.duplicated()]
    if len(repeated):
        raise InputError(f"{path} has two columns named {repeated[0]!r}: rename or remove one")
    return table


def month_index(path: Path, column: str, values: Iterable[object]) -> pd.PeriodIndex:
    """Read cells as months, of which each may come once; see `months_of`.

    Raises
    ------
    InputError
        If a cell is no month, or a month comes twice (daily data, or dates written day first).
    """
    index = months_of(path, column, values)
    if index.has_duplicates:
        twice = index[index.duplicated()][0]
        raise InputError(
            f"{path}: column {column!r} has {twice} more than once, and one row a month was expected: remove the "
            "copy, or, if dates are daily or written day first, give a monthly file with dates YYYY-MM-DD"
        )
    return index


def months_of(path: Path, column: str, values: Iterable[object]) -> pd.PeriodIndex:
    """Read cells as months: yyyymm, yyyymmdd, YYYY-MM, ISO dates or month/day/year.

    Raises
    ------
    InputError
        If a cell is none of these.
    """
    series = pd.Series(list(values))
    if not pd.api.types.is_datetime64_any_dtype(series.dtype):
        text = series.astype(str).str.strip().str.replace(r"^(\d{6}|\d{8})\.0$", r"\1", regex=True)
        series = text.str.replace(_AMERICAN, _iso, regex=True)
        unread = text[~series.str.fullmatch(_READABLE)]
        if len(unread):
            raise InputError(
                f"{path}: column {column!r} must hold months (yyyymm, YYYY-MM, a date YYYY-MM-DD or month/day/year); "
                f"got {unread.iloc[0]!r} in row {unread.index[0] + 1}: mend or remove that row"
            )
        series = series.str.replace(r"^(\d{4})[-/]?(\d{2}).*$", r"\1-\2", regex=True)
    try:
        months = to_months(series, column=column)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    return pd.PeriodIndex(months.astype("datetime64[M]").astype("datetime64[s]"), freq="M", name="month")


def on_every_month(path: Path, frame: pd.DataFrame) -> pd.DataFrame:
    """Sort a frame by month and give every month between the first and the last a row, NaN where it had none.

    Raises
    ------
    InputError
        If fewer than half of these months have a row, as in quarterly or annual data.
    """
    every = pd.period_range(frame.index.min(), frame.index.max(), freq="M", name="month")
    if len(every) > 2 * len(frame):
        raise InputError(f"{path} is not monthly: {len(frame)} dates span {len(every)} months; give a monthly file")
    return frame.reindex(every)


def to_numbers(path: Path, cells: pd.DataFrame) -> pd.DataFrame:
    """Read cells as floats: blanks, ``NA`` and their like are NaN, ``1,234.5`` is a thousand.

    Raises
    ------
    InputError
        If a cell is no finite number; the sentence names its column and row.
    """
    return pd.DataFrame({name: _numbers(path, str(name), cells[name]) for name in cells.columns}, index=cells.index)


def _numbers(path: Path, name: str, column: pd.Series) -> pd.Series:
    if pd.api.types.is_numeric_dtype(column.dtype):
        return column.astype("float64")
    cells = column.reset_index(drop=True)
    numbers = pd.to_numeric(cells, errors="coerce").astype("float64")
    # Most columns hold numbers and blanks only; the rest of the work is for the others.
    if not bool(((numbers.isna() & (cells != "")) | np.isinf(numbers)).any()):
        return numbers.set_axis(column.index)
    unread = cells[numbers.isna()].astype(str).str.strip()
    unread = unread[~unread.str.lower().isin(_MISSING)]
    grouped = unread[unread.str.fullmatch(_THOUSANDS)]
    numbers[grouped.index] = grouped.str.replace(",", "").astype("float64")
    wrong = pd.concat([unread.drop(grouped.index), cells[np.isinf(numbers)]])
    if len(wrong):
        raise InputError(
            f"{path}: column {name!r} must hold numbers; got {wrong.iloc[0]!r} in row {column.index[wrong.index[0]]}: "
            "mend it (a point for decimals; a comma only between thousands)"
        )
    return numbers.set_axis(column.index)


def _iso(match: re.Match[str]) -> str:
    month, day, year = match.groups()
    return f"{year}-{int(month):02d}-{int(day):02d}"


def _only_member(path: Path, content: bytes) -> bytes:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = [name for name in archive.namelist() if not name.endswith("/") and "__MACOSX" not in name]
        if len(members) != 1:
            raise InputError(f"{path} must hold one data file; it holds {members}: unpack it and give the file's path")
        return archive.read(members[0])
