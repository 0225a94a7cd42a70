"""CRSP's monthly stock file: returns with delisting returns, prices and market capitalisations."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from factor_ray.data.sources._large import LargeTable, MonthSpan
from factor_ray.errors import InputError

# Besides letters, CRSP writes these numbers where a return is not known, each with a reason of its own.
_CODES = (-44.0, -55.0, -66.0, -77.0, -88.0, -99.0)
_LETTER = r"^\s*[A-Za-z]?\s*$"


def read_crsp(path: str | Path, *, span: MonthSpan = (None, None)) -> tuple[pl.DataFrame, list[str]]:
    """Read monthly returns of CRSP.

    Parameters
    ----------
    path
        CSV (also archived) or Parquet with ``permno, date, ret, prc, shrout`` and, where there are any, ``dlret``,
        ``exchcd``, ``shrcd`` and ``rf``; upper or lower case. ``date`` may be any date within the month.
    span
        First and last month to read, as months since 1970-01.

    Returns
    -------
    polars.DataFrame
        One row per stock and month, sorted: permno (int64), month (int32), ret (float64, decimals, gross of the
        risk-free rate), prc (float64, dollars, positive), cap (float64, thousand dollars: |prc| * shrout) and, where
        the file has them, exchcd and shrcd (text) and rf (float64). A missing value is null.
    list of str
        What was done, in sentences for the report.

    Raises
    ------
    InputError
        If the file cannot be read, lacks a column, a cell is neither number nor letter code, or a stock has two
        different rows in a month.

    Notes
    -----
    Letters in ``ret`` and ``dlret`` and CRSP's codes below -40 mean that a return is not known. In the month of a
    delisting the return is (1 + ret)(1 + dlret) - 1, or dlret alone where ret is missing. A negative ``prc`` is the
    middle of bid and ask: its size is the price; 0 means that there is none.
    """
    path = Path(path)
    table = LargeTable.open(path)
    names = {"ret": table.require("ret"), "prc": table.require("prc"), "shrout": table.require("shrout")}
    optional = {name: table.find(name) for name in ("dlret", "exchcd", "shrcd", "rf")}
    names |= {name: found for name, found in optional.items() if found is not None}
    frame = table.read(table.require("permno"), table.require("date"), (), tuple(names.values()), span=span)
    frame = frame.rename({found: name for name, found in names.items()})
    returns = [name for name in ("ret", "dlret") if name in names]
    frame = frame.with_columns(_number(path, frame[name], codes=name in returns) for name in _numeric(names))
    frame = frame.unique().sort("permno", "month")
    again = frame.filter(pl.struct("permno", "month").is_duplicated())
    if again.height:
        raise InputError(
            f"{path} has different rows for permno {again['permno'][0]} in one month ({again.height} such rows): keep "
            "one row per stock and month (is the file daily, or are events merged into it?)"
        )
    notes = []
    if "dlret" in names:
        merged = frame["dlret"].is_not_null().sum()
        notes.append(f"{merged:,} delisting returns were merged into the returns of {path.name}.")
        both = (1 + pl.col("ret")) * (1 + pl.col("dlret")) - 1
        frame = frame.with_columns(ret=pl.coalesce(both, "ret", "dlret")).drop("dlret")
    else:
        notes.append(f"{path.name} has no column dlret: delisting returns are not in the returns.")
    price = pl.col("prc").abs()
    frame = frame.with_columns(prc=pl.when(price > 0).then(price))
    return frame.with_columns(cap=pl.when(pl.col("shrout") > 0).then(pl.col("prc") * pl.col("shrout"))).drop(
        "shrout"
    ), notes


def _numeric(names: dict[str, str]) -> list[str]:
    return [name for name in names if name not in ("exchcd", "shrcd")]


def _number(path: Path, column: pl.Series, *, codes: bool) -> pl.Series:
    number = column.str.strip_chars().cast(pl.Float64, strict=False).fill_nan(None)
    wrong = column.filter(number.is_null() & column.is_not_null())
    if codes:
        wrong = wrong.filter(~wrong.str.contains(_LETTER))
        number = number.set(number.is_in(_CODES), None)
    wrong = wrong.filter(~wrong.str.to_lowercase().is_in(["nan", "null"]))
    if len(wrong):
        allowed = "numbers or CRSP's letter codes" if codes else "numbers"
        raise InputError(
            f"{path}: column {column.name!r} must hold {allowed}; got {wrong[0]!r}: mend it or leave the field empty"
        )
    return number
