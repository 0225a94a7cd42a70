"""Kenneth French's Data Library: several tables in one text file, with prose around them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd

from factor_ray.data.sources._files import month_index, on_every_month, read_csv, read_text, to_numbers
from factor_ray.errors import InputError

UNTITLED = "Monthly"
"""The title given to a table that has none: the monthly table of a factor file."""

_MISSING = (-99.99, -999.0)
_DATED = re.compile(r'^\s*"?(\d{4}|\d{6}|\d{8})"?\s*,')
_DATE = re.compile(r"\d{4}|\d{6}|\d{8}")
_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)")
_PERCENT = re.compile(r"\breturns?\b|\bfactors?\b", re.IGNORECASE)
_TAB = 32  # wider than any name: tabs become blanks, and columns stay apart
_CORNERS = ("", "date", "month", "yyyymm", "year")
_LINEARMODELS = "dates,MktRF,SMB,HML,Mom,RF,"


def french(path: str | Path) -> dict[str, pd.DataFrame]:
    """Read every monthly and annual table of one file of Kenneth French's Data Library.

    Parameters
    ----------
    path
        The file as downloaded (zip, CSV or TXT): lines of prose, a line of column names that starts with a comma,
        lines of ``yyyymm`` or ``yyyy`` and numbers; any number of such tables. In TXT files blanks stand for commas,
        and a name of several words is told from its neighbours by two blanks or by the columns of numbers below it.
        The file of the set inside `linearmodels` (``french.csv.bz2``) is known by its column names and read by its
        own rules (see `french_linearmodels`).

    Returns
    -------
    dict of str to DataFrame
        By title: the lines of prose right above the column names, joined by single spaces; ``"Monthly"`` where there
        are none; a title that comes again gets `` (2)``. Monthly tables have a monthly PeriodIndex named ``month``
        with every month from first to last, annual ones an annual PeriodIndex named ``year``. Values are float64;
        -99.99 and -999 are NaN. Tables whose title says return or factor, and untitled ones, are decimals (the file
        has percent); all others (number of firms, average size, BE/ME, ...) are as in the file.
        ``attrs["units"]`` is ``"decimal"`` or ``"as in the file"``.

    Raises
    ------
    InputError
        If there is no such table, a table has no column names or one name twice, a line has too few or too many cells,
        a month comes twice, the data are daily or weekly, or returns are too small to be percent.
    """
    path = Path(path)
    text = read_text(path).expandtabs(_TAB)
    if text.startswith(_LINEARMODELS):
        return {UNTITLED: _of_linearmodels(path)}
    tables: dict[str, pd.DataFrame] = {}
    for block in _blocks(text):
        title, count = block.title or UNTITLED, 2
        while title in tables:
            title, count = f"{block.title or UNTITLED} ({count})", count + 1
        tables[title] = _frame(path, block)
    if not tables:
        raise InputError(
            f"{path} holds no table in French's format (a line of names, then lines of yyyymm and numbers, separated "
            "by commas or blanks): give the CSV or TXT file or its zip as downloaded"
        )
    return tables


def is_french(text: str) -> bool:
    """Whether a text has French's format: prose first, then a line of names that starts with a comma, then months.

    In a TXT file the names start with a blank, and blanks separate the numbers.
    """
    lines = [line for line in text.split("\n") if line.strip(" ,")]
    if not _has_commas(text):
        return any(above.startswith(" ") and _is_dated(below) for above, below in pairwise(lines))
    return not text.startswith(",") and any(
        above.startswith(",") and bool(_DATED.match(below)) for above, below in pairwise(lines)
    )


def french_linearmodels() -> pd.DataFrame:
    """Return the set of French's data that comes with the package `linearmodels`: no file and no network needed.

    Returns
    -------
    DataFrame
        819 months 1949-01..2017-03 (monthly PeriodIndex ``month``) x 35 columns, decimals: MktRF SMB HML Mom RF, the
        twelve industries, and nine portfolios each by size and value (S1V1..S5V5) and size and momentum (S1M1..S5M5);
        portfolio returns are not in excess of RF.
    """
    from linearmodels.datasets import french as packaged

    data = packaged.load()
    index = month_index(Path("linearmodels.datasets.french"), "dates", data["dates"])
    frame: pd.DataFrame = data.drop(columns="dates").astype("float64").set_axis(index, axis="index")
    frame.attrs["units"] = "decimal"
    return frame


@dataclass
class _Block:
    """One table as it stands in the file."""

    title: str
    names: list[str]
    line: int
    rows: list[list[str]] = field(default_factory=list)


def _blocks(text: str) -> Iterator[_Block]:
    block: _Block | None = None
    above: list[list[str]] = []
    lines = text.split("\n")
    if not _has_commas(text):
        lines = _with_commas(lines)
    for number, line in enumerate(lines, start=1):
        cells = [cell.strip().strip('"').strip() for cell in line.split(",")]
        if not any(cells):
            above.append([])
        elif _DATED.match(line):
            if block is None:
                block = _opened(above, number)
            block.rows.append(cells)
        else:
            if block is not None:
                yield block
                block, above = None, []
            above.append(cells)
    if block is not None:
        yield block


def _has_commas(text: str) -> bool:
    return any(_DATED.match(line) for line in text.split("\n"))


def _is_dated(line: str) -> bool:
    date, *values = line.split() or [""]
    return bool(_DATE.fullmatch(date)) and any(_NUMBER.fullmatch(value) for value in values)


def _with_commas(lines: list[str]) -> list[str]:
    """Put commas between the cells of a TXT file: in rows, and in the lines of names right above them."""
    made, above = list(lines), -1
    for number, line in enumerate(lines):
        if _is_dated(line):
            if above >= 0 and not _is_dated(lines[above]):
                made[above] = ",".join(_names(lines[above], line)) or lines[above]
            made[number] = ",".join(line.split())
        above = number if line.strip() else above
    return made


def _names(line: str, row: str) -> list[str]:
    """Split a line of names as the row below it is; no names where it is a title, or cannot be split so."""
    ends = [match.end() for match in re.finditer(r"\S+", row)]
    first = line.split()[0]
    if first.lower() in _CORNERS:
        line = line.replace(first, " " * len(first), 1)
    elif line[: ends[0]].strip():
        return []
    for names in (line.split(), re.split(r"\s{2,}", line.strip())):
        if len(names) == len(ends) - 1:
            return ["", *names]
    if any(len(line[end - 1 : end + 1].replace(" ", "")) == 2 for end in ends[:-1]):
        return []
    return ["", *(line[start:end].strip() for start, end in pairwise([*ends[:-1], max(len(line), ends[-1])]))]


def _opened(above: list[list[str]], line: int) -> _Block:
    while above and not above[-1]:
        above.pop()
    names = above.pop() if above and len(above[-1]) > 1 and above[-1][0].lower() in _CORNERS else []
    while names and not names[-1]:
        names.pop()
    prose: list[str] = []
    while above and above[-1]:
        prose.insert(0, ", ".join(cell for cell in above.pop() if cell))
    return _Block(title=" ".join(" ".join(prose).split()), names=names[1:], line=line)


def _frame(path: Path, block: _Block) -> pd.DataFrame:
    where = f"{path}: table {block.title or UNTITLED!r} (line {block.line})"
    digits = {len(row[0]) for row in block.rows}
    if digits == {8}:
        raise InputError(f"{where} is daily or weekly: download the file of the same name with monthly data")
    if len(digits) != 1:
        raise InputError(f"{where} mixes dates of {sorted(digits)} digits: put a title line between the tables")
    if not block.names or not all(block.names):
        raise InputError(f"{where} must have a line of column names above it, one name a column: restore it")
    repeated = next((name for name in block.names if block.names.count(name) > 1), None)
    if repeated is not None:
        raise InputError(f"{where} has two columns named {repeated!r}: rename or remove one")
    for offset, row in enumerate(block.rows):
        if len(row) < len(block.names) + 1 or any(row[len(block.names) + 1 :]):
            raise InputError(
                f"{where} has {len(row) - 1} values for {len(block.names)} columns in its row {offset + 1}, dated "
                f"{row[0]}: mend the row or download the file again"
            )
    dates = [row[0] for row in block.rows]
    cells = pd.DataFrame([row[1 : len(block.names) + 1] for row in block.rows], columns=pd.Index(block.names))
    if digits == {6}:
        values = on_every_month(path, to_numbers(path, cells.set_axis(month_index(path, "date", dates), axis="index")))
    else:
        years = pd.PeriodIndex(dates, freq="Y", name="year")
        if years.has_duplicates:
            raise InputError(f"{where} has the year {years[years.duplicated()][0]} more than once: remove the copy")
        values = to_numbers(path, cells.set_axis(years, axis="index")).sort_index()
    values = values.mask(values.isin(_MISSING))
    if block.title and not _PERCENT.search(block.title):
        values.attrs["units"] = "as in the file"
        return values
    _require_percent(where, values)
    values = values / 100.0
    values.attrs["units"] = "decimal"
    return values


def _require_percent(where: str, values: pd.DataFrame) -> None:
    # Bill rates are below 1 in percent as well; no year of any portfolio or factor is.
    largest = float(np.nanmax(np.abs(values.drop(columns="RF", errors="ignore").to_numpy()), initial=0.0))
    if len(values) >= 24 and 0.0 < largest < 1.0:
        raise InputError(
            f"{where} must hold returns in percent, as French's files do; the largest is {largest}, which looks like "
            "decimals: give the file as downloaded, or read it as a plain table"
        )


def _of_linearmodels(path: Path) -> pd.DataFrame:
    table = read_csv(path)
    frame = to_numbers(
        path, table.drop(columns="dates").set_axis(month_index(path, "dates", table["dates"]), axis="index")
    )
    frame.attrs["units"] = "decimal"
    return frame
