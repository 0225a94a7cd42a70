"""CRSP's delisting returns: from a file of their own or from columns of the returns file, into the returns."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from factor_ray.data.months import format_month
from factor_ray.data.sources._large import LargeTable
from factor_ray.errors import InputError

# Besides letters, CRSP writes these numbers where a return is not known, each with a reason of its own.
_CODES = (-44.0, -55.0, -66.0, -77.0, -88.0, -99.0)
_LETTER = r"^\s*[A-Za-z]?\s*$"
_STILL_TRADED = 100


def read_delistings(path: Path) -> pl.DataFrame:
    """Read CRSP's file of delistings.

    Parameters
    ----------
    path
        CSV (also archived) or Parquet with ``permno, dlstdt, dlret`` and, where there is one, ``dlstcd``; upper or
        lower case. ``dlret`` may hold letter codes.

    Returns
    -------
    polars.DataFrame
        One row per stock and month of delisting, sorted: permno (int64), month (int32), dlret (float64, decimals; null
        where it is not known) and, where the file has it, dlstcd (float64). Stocks that are still traded (code 100) are
        left out.

    Raises
    ------
    InputError
        If the file cannot be read, lacks a column, or a stock has two different delistings in a month.
    """
    table = LargeTable.open(path)
    names = {"dlret": table.require("dlret")}
    code = table.find("dlstcd")
    names |= {} if code is None else {"dlstcd": code}
    month = table.require("dlstdt", "date")
    frame = table.read(table.require("permno"), month, (), tuple(names.values()), span=(None, None))
    frame = frame.rename({found: name for name, found in names.items()})
    frame = frame.with_columns(crsp_numbers(path, frame[name], codes=name == "dlret") for name in names)
    if code is not None:
        frame = frame.filter(pl.col("dlstcd").ne_missing(_STILL_TRADED))
    frame = frame.unique().sort("permno", "month")
    again = frame.filter(pl.struct("permno", "month").is_duplicated())
    if again.height:
        raise InputError(
            f"{path} has two different delistings of permno {again['permno'][0]} in {format_month(again['month'][0])}: "
            "keep one"
        )
    return frame


def with_delistings(
    path: Path, frame: pl.DataFrame, delistings: Path | None, missing: float | None
) -> tuple[pl.DataFrame, list[str]]:
    """Compound delisting returns into the returns of their months.

    Parameters
    ----------
    path : Path
        Of the returns.
    frame : polars.DataFrame
        permno, month, ret, ..., and dlret, dlstcd where the returns file has them.
    delistings : Path or None
        A file of their own; see `read_delistings`.
    missing : float or None
        Return of performance-related delistings (codes 500 and 520 to 584) that have none known; None: it stays
        missing.

    Returns
    -------
    polars.DataFrame, list of str
        The frame without dlret and dlstcd, sorted, with a row more for a delisting in a month without a row, up to the
        file's last month; and what was done, in sentences.

    Raises
    ------
    InputError
        If delisting returns come twice, `missing` is asked for without codes, or a code stands in several months of a
        stock.
    """
    if delistings is not None and "dlret" in frame.columns:
        raise InputError(
            f"{path} has a column dlret and data.delistings names {delistings}: leave one out, or delisting returns "
            "count twice"
        )
    if delistings is not None:
        listed = read_delistings(delistings).join(frame.select("permno").unique(), on="permno", how="semi")
        listed = listed.filter(pl.col("month").is_between(pl.lit(frame["month"].min()), pl.lit(frame["month"].max())))
        listed, notes = _assumed(delistings, listed, missing)
        known = listed.filter(pl.col("dlret").is_not_null()).select("permno", "month", "dlret")
        frame = frame.join(known, on=["permno", "month"], how="full", coalesce=True)
        if "rf" in frame.columns:
            frame = frame.with_columns(pl.col("rf").fill_null(pl.col("rf").drop_nulls().first().over("month")))
    elif "dlret" in frame.columns:
        frame, notes = _assumed(path, frame, missing)
    elif missing is not None:
        raise InputError(f"{path} has no column dlret, which data.missing_delisting_return completes: leave it out")
    else:
        notes = [f"{path.name} has no column dlret: delisting returns are not in the returns."]
        return frame.drop("dlstcd", strict=False), notes
    merged, of_file = frame["dlret"].is_not_null().sum(), "" if delistings is None else f" of {delistings.name}"
    both = (1 + pl.col("ret")) * (1 + pl.col("dlret")) - 1
    frame = frame.with_columns(ret=pl.coalesce(both, "ret", "dlret")).drop("dlret", "dlstcd", strict=False)
    told = f"{merged:,} delisting returns{of_file} were merged into the returns of {path.name}."
    return frame.sort("permno", "month"), [told, *notes]


def crsp_numbers(path: Path, column: pl.Series, *, codes: bool) -> pl.Series:
    """Read text cells as numbers; where codes may be, CRSP's letters and numbers for unknown returns are null.

    Raises
    ------
    InputError
        If a cell is neither.
    """
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


def _assumed(path: Path, frame: pl.DataFrame, missing: float | None) -> tuple[pl.DataFrame, list[str]]:
    """Give performance-related delistings without a known return the one that is stated for them, if any is."""
    if "dlstcd" not in frame.columns:
        if missing is None:
            return frame, []
        raise InputError(
            f"{path} has no column dlstcd, by which data.missing_delisting_return knows performance-related "
            "delistings: add it, or leave the setting out"
        )
    code = pl.col("dlstcd")
    unknown = ((code == 500) | code.is_between(520, 584)) & pl.col("dlret").is_null()
    rows = frame.filter(unknown)
    if missing is None or rows.is_empty():
        said = "have no known return, which stays missing (data.missing_delisting_return would state one)"
        return frame, [f"{rows.height:,} performance-related delistings {said}."] if rows.height else []
    again = rows.filter(pl.col("permno").is_duplicated())
    if again.height:
        raise InputError(
            f"{path} has the delisting code {again['dlstcd'][0]:g} in several months of permno {again['permno'][0]}: "
            "keep it in the month of the delisting only"
        )
    taken = f"{rows.height:,} of them, performance-related and without a known return, were taken as {missing:.0%}."
    return frame.with_columns(dlret=pl.when(unknown).then(missing).otherwise("dlret")), [taken]
