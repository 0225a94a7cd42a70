"""Daily prices and volumes of many assets, in one file or a folder of files, as one sorted long table."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from factor_ray.data.sources.daily_layouts import read_layout
from factor_ray.errors import InputError

_PACKED = (".gz", ".bz2", ".zip")
_SUFFIXES = (".csv", ".txt", ".parquet", ".pq")
_LEAST_DAYS = 5  # of a typical month of daily prices


def read_daily_prices(path: str | Path) -> pl.DataFrame:
    """Read daily open, high, low, close and volume of many assets.

    Parameters
    ----------
    path
        CSV (comma, semicolon or tab; also zipped) or Parquet. Long: one row per asset and day, with a date, an asset
        (ticker, symbol, asset, permno, ...) and open, high, low, close, volume, of which close must be there. Wide:
        one row a day and one column per field and asset, named by both (``AAPL_Close``, ``Close AAPL``) or in two
        header rows as yfinance writes them; or closes only, one column per asset. Case does not matter, nor do the
        angle brackets of stooq (``<CLOSE>``). Or a folder of such files, commonly one per asset, which is then named
        by the file (``AAPL.csv``, ``aapl.us.txt``, ``BRK.B.parquet``) where no column names it.

    Returns
    -------
    polars.DataFrame
        Columns asset (text), date, open, high, low, close, volume (float64, null where the file has none), sorted by
        asset and date, each pair once. With an adjusted close in the file, prices are scaled to it and volumes
        inversely, so that close x volume remains the dollars traded. Rows without a positive close are left out; open,
        high and low are null where they are not positive, and high and low where high < low.

    Raises
    ------
    InputError
        If a file cannot be read, has no date, asset or close, dates are not daily, a cell is no number, an asset has
        two different rows for a day, a volume is negative, or some files of a folder have adjusted closes and others
        have none.
    """
    path = Path(path)
    table = _of_folder(path) if path.is_dir() else _checked(path, read_layout(path))
    _require_daily(path, table, least=1)
    positive = [pl.when(pl.col(name) > 0).then(name).alias(name) for name in ("open", "high", "low")]
    ordered = pl.col("high") >= pl.col("low")
    return table.with_columns(positive).with_columns(
        [pl.when(ordered).then(name).alias(name) for name in ("high", "low")]
    )


def _of_folder(folder: Path) -> pl.DataFrame:
    files = sorted(file for file in folder.iterdir() if _ticker(file) is not None and file.is_file())
    if not files:
        raise InputError(f"{folder} holds no CSV or Parquet file: give the folder of one file per asset itself")
    empty = [file.name for file in files if file.stat().st_size == 0]
    if empty:
        some = ", ".join(empty[:5]) + (", ..." if len(empty) > 5 else "")
        raise InputError(f"{folder} holds {len(empty)} empty files ({some}): remove them")
    read = {file: read_layout(file, _ticker(file)) for file in files}
    adjusted = {file: table["adjusted"].null_count() < table.height for file, table in read.items()}
    if len(set(adjusted.values())) > 1:
        without, beside = (next(f.name for f, has in adjusted.items() if has == held) for held in (False, True))
        raise InputError(f"{folder}: {beside} has adjusted closes and {without} has none: give all files alike")
    checked = {file: _checked(file, table) for file, table in read.items()}
    for file, table in checked.items():
        _require_daily(file, table, least=3)
    whole = pl.concat(checked.values()).unique().sort("asset", "date")
    again = whole.filter(pl.struct("asset", "date").is_duplicated())
    if again.height:
        key = {"asset": again["asset"][0], "date": again["date"][0]}
        names = " and ".join(file.name for file, table in checked.items() if table.filter(**key).height)
        raise InputError(f"{folder}: {names} have different rows for {_which(again)}: keep one row per asset and day")
    return whole


def _ticker(file: Path) -> str | None:
    """A file's name without its endings; None where it is none of daily prices."""
    plain = file.with_suffix("") if file.suffix.lower() in _PACKED else file
    if plain.suffix.lower() in _SUFFIXES:
        plain = plain.with_suffix("")
    return None if plain == file or file.name.startswith(".") else plain.name


def _checked(path: Path, table: pl.DataFrame) -> pl.DataFrame:
    wrong = table.filter(pl.col("volume") < 0)
    if wrong.height:
        raise InputError(f"{path}: volume must not be negative; {_which(wrong)} has {wrong['volume'][0]}: mend it")
    table = _adjusted(table.filter(pl.col("close") > 0)).unique().sort("asset", "date")
    again = table.filter(pl.struct("asset", "date").is_duplicated())
    if again.height:
        raise InputError(f"{path} has different rows for {_which(again)}: keep one row per asset and day")
    if table.is_empty():
        raise InputError(f"{path} holds no positive close price: give a file of daily prices")
    return table


def _require_daily(path: Path, table: pl.DataFrame, *, least: int) -> None:
    """Refuse what has few days in a typical month, if it has as many months as can tell."""
    counts = table.group_by("asset", pl.col("date").dt.truncate("1mo")).len()["len"]
    days = counts.median()
    if len(counts) >= least and isinstance(days, float) and days < _LEAST_DAYS:
        raise InputError(f"{path} must hold daily prices; it has {days:g} days in a typical month: give daily data")


def _adjusted(table: pl.DataFrame) -> pl.DataFrame:
    factor = (pl.col("adjusted") / pl.col("close")).fill_null(1.0)
    return table.select(
        "asset",
        "date",
        *(pl.col(name) * factor for name in ("open", "high", "low", "close")),
        pl.col("volume") / factor,
    )


def _which(rows: pl.DataFrame) -> str:
    return f"{rows['asset'][0]!r} on {rows['date'][0]}"
