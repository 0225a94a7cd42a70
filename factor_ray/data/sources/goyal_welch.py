"""Goyal and Welch's equity premium predictors, monthly."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from factor_ray.data.sources._files import (
    is_workbook,
    month_index,
    on_every_month,
    read_bytes,
    read_csv,
    read_workbook,
    to_numbers,
    with_header,
)
from factor_ray.errors import InputError

CBAPM_PREDICTORS: tuple[str, ...] = ("dp", "ep", "bm", "ntis", "tbl", "tms", "dfy", "svar")
"""The eight predictors of CB-APM, Table D.2."""

_YIELDS = ("tbl", "AAA", "BAA", "lty", "tms", "dfy")
_RETURNS = ("Rfree", "infl", "ltr", "corpr", "dfr", "ret", "retx", "CRSP_SPvw", "CRSP_SPvwx")
_CLASSIC = (*_YIELDS, *_RETURNS, "Index", "D12", "E12", "bm", "ntis", "svar", "csp", "dp", "dy", "ep", "de", "eqis")
# Goyal, Welch and Zafirov (2024): what the newer files add to the classic set.
# fmt: off
_NEWER = (
    "accrul", "avgcor", "cay", "cfacc", "crdstd", "disag", "dtoat", "dtoy", "ecc", "fbm", "gip", "govik", "gpce",
    "house", "i/k", "ik", "impvar", "kurtq", "lzrt", "ndrbl", "ogap", "pce", "rdsp", "rsvix", "shtint", "skew",
    "skvw", "sntm", "tail", "tchi", "vp", "vrp", "wtexas", "ygap",
)
# fmt: on
_OTHER_NAMES = {"price": "Index", "spindex": "Index", "b/m": "bm", "d/p": "dp", "d/y": "dy", "e/p": "ep", "d/e": "de"}
_NAMES = {name.lower(): name for name in (*_CLASSIC, *_NEWER)} | _OTHER_NAMES
_DATES = ("yyyymm", "date", "month")


def goyal_welch(path: str | Path) -> pd.DataFrame:
    """Read the monthly predictors of Goyal and Welch (2008), classic or newer column set, xlsx or CSV.

    No lag is applied: the caller shifts the frame by the publication lag it wants (prices and yields are known at the
    month's end, inflation a month later).

    Parameters
    ----------
    path
        A workbook with a sheet Monthly (or one sheet whose first column is yyyymm), or the monthly table as CSV
        (also zipped), with or without commas between thousands.

    Returns
    -------
    DataFrame
        Months (PeriodIndex named ``month``, every month from first to last) x columns, float64, missing as NaN. Rates
        (annual yields and monthly returns) are decimals. The file's columns come under their own names (``b/m`` as
        ``bm``, ``price`` as ``Index``), and, where the file has their parts, dp = log D12 - log Index, dy = log D12 -
        log Index of the month before, ep = log E12 - log Index, de = log D12 - log E12, tms = lty - tbl,
        dfy = BAA - AAA, dfr = corpr - ltr. Columns of numbers that are none of Goyal and Welch's come last, as they
        stand, and ``attrs["unknown"]`` lists them; ``attrs["ignored"]`` says which columns and sheets were left out,
        and why (the quarterly and annual sheets are).

    Raises
    ------
    InputError
        If no monthly table is found, none of its columns is a predictor, dates or numbers cannot be read, a level
        under a logarithm is not positive, or yields and returns look like percent.

    References
    ----------
    Welch and Goyal (2008), Review of Financial Studies 21(4); Goyal, Welch and Zafirov (2024), same journal 37(11).
    """
    path = Path(path)
    table, ignored = _monthly_table(path)
    date = table.columns[0]
    months = month_index(path, str(date), table[date])
    table = table.set_axis(months, axis="index")
    known: dict[str, str] = {}
    unknown: list[pd.Series] = []
    for column in map(str, table.columns[1:]):
        name = _NAMES.get(column.lower())
        if name is None:
            own = _as_it_stands(path, table, column)
            ignored |= {f"column {column}": "it holds no numbers"} if own is None else {}
            unknown += [] if own is None else [own]
        elif name in known.values():
            raise InputError(f"{path} has two columns that mean {name!r}, one of them {column!r}: remove one")
        else:
            known[column] = name
    if not known:
        raise InputError(f"{path} has no column of Goyal and Welch's, such as Index, D12, tbl: give their file")
    data = to_numbers(path, table[list(known)]).rename(columns=known)
    data = _with_derived(path, on_every_month(path, data))
    _check_units(path, data)
    data = pd.concat([data, *(own.reindex(data.index) for own in unknown)], axis="columns")
    data.attrs |= {"ignored": ignored, "unknown": [str(own.name) for own in unknown]}
    return data


def _as_it_stands(path: Path, table: pd.DataFrame, column: str) -> pd.Series | None:
    try:
        values = to_numbers(path, table[[column]])[column]
    except InputError:
        return None
    return values if bool(values.notna().any()) else None


def _monthly_table(path: Path) -> tuple[pd.DataFrame, dict[str, str]]:
    if not is_workbook(read_bytes(path)) and path.suffix.lower() not in (".xls", ".xlsx"):
        table = read_csv(path)
        _require_dates(path, table)
        return table, {}
    sheets = read_workbook(path)
    named = [title for title in sheets if title.strip().lower() == "monthly"]
    dated = [title for title, cells in sheets.items() if _starts_with_date(cells)]
    choice = named or dated
    if len(choice) != 1:
        raise InputError(
            f"{path} must have one sheet named Monthly or one whose first column is yyyymm; its sheets are "
            f"{list(sheets)}: name the monthly one Monthly"
        )
    try:
        table = with_header(path, sheets[choice[0]])
    except InputError as error:
        raise InputError(f"sheet {choice[0]!r}: {error}") from error
    _require_dates(path, table)
    return table, {f"sheet {title}": "only the monthly sheet is read" for title in sheets if title != choice[0]}


def _starts_with_date(cells: pd.DataFrame) -> bool:
    return not cells.empty and str(cells.iloc[0, 0]).strip().lower() == "yyyymm"


def _require_dates(path: Path, table: pd.DataFrame) -> None:
    if str(table.columns[0]).lower() not in _DATES:
        raise InputError(
            f"{path}: the first column must be the month, named {' or '.join(_DATES)}; it is {table.columns[0]!r}: "
            "give the monthly table (quarterly and annual ones are not read)"
        )


def _with_derived(path: Path, data: pd.DataFrame) -> pd.DataFrame:
    columns = set(data.columns)
    if {"D12", "Index"} <= columns:
        data["dp"] = _log(path, data["D12"]) - _log(path, data["Index"])
        data["dy"] = _log(path, data["D12"]) - _log(path, data["Index"]).shift()
    if {"E12", "Index"} <= columns:
        data["ep"] = _log(path, data["E12"]) - _log(path, data["Index"])
    if {"D12", "E12"} <= columns:
        data["de"] = _log(path, data["D12"]) - _log(path, data["E12"])
    for name, more, less in (("tms", "lty", "tbl"), ("dfy", "BAA", "AAA"), ("dfr", "corpr", "ltr")):
        if {more, less} <= columns:
            data[name] = data[more] - data[less]
    for name in ("dp", "dy", "ep"):
        if name in data and bool((data[name] > 0).any()):
            raise InputError(
                f"{path}: {name!r} must be a log ratio, which is negative; it is positive in "
                f"{data.index[data[name] > 0][0]}: give its parts Index, D12 and E12, or the log"
            )
    return data


def _log(path: Path, level: pd.Series) -> pd.Series:
    if bool((level <= 0).any()):
        month = level.index[level <= 0][0]
        raise InputError(f"{path}: {level.name!r} must be positive; it is {level[month]} in {month}: mend or blank it")
    return pd.Series(np.log(level))


def _check_units(path: Path, data: pd.DataFrame) -> None:
    for name, limit in {**dict.fromkeys(_YIELDS, 0.5), **dict.fromkeys(_RETURNS, 1.0)}.items():
        if name in data and bool((data[name].abs() > limit).any()):
            month = data.index[data[name].abs() > limit][0]
            raise InputError(
                f"{path}: {name!r} must be a decimal (0.05 for 5%); it is {data[name][month]} in {month}, which is "
                "implausible: if the column is in percent, divide it by 100"
            )
